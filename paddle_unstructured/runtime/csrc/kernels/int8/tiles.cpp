// SPDX-License-Identifier: Apache-2.0
// The kernels on tiles, compiled as kernels.cpp is; PU_TILES is 1 where the processor has them, and 0 for plain C++.
#include "table.h"

#include "../simd/tile_unit.h"

#include "../tile_run.inl"
#include "tiles.inl"

namespace paddle_unstructured::int8 {

extern const TileTable PU_TABLE;
const TileTable PU_TABLE = {multiply_tiles, multiply_tiles_vector};

}  // namespace paddle_unstructured::int8
