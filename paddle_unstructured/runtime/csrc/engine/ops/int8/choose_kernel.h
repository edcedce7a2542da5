// SPDX-License-Identifier: Apache-2.0
// Which kernel runs a matrix of weights on the processor at hand: a file says what was kept, not how it runs.
#pragma once

#include "tile_matrix.h"

namespace paddle_unstructured::int8 {

enum class Way {
  kVectors,      // as it is stored, sparse or dense
  kDenseTiles,   // zeros included
  kSparseTiles,  // without the panel rows that none of 16 outputs needs
};

// A matrix as it is stored.
struct Stored {
  int32_t block;    // outputs of an entry
  int64_t entries;  // of all rows, zeros included if it is dense
  bool sparse;
};

// The way that takes the fewest cycles for a plane. Needs `kernels.tiles`.
Way choose_way(const KernelTable& kernels, const TileWords& words, const Stored& stored);

}  // namespace paddle_unstructured::int8
