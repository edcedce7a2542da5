// SPDX-License-Identifier: Apache-2.0
// Int8 weights for the kernels that multiply whole tiles.
#pragma once

#include "../../tile_words.h"
#include "matrix.h"

namespace paddle_unstructured::int8 {

// `dense`: all panel rows are multiplied, those without weights too.
std::unique_ptr<Matrix> make_tile_matrix(const MatrixCuts& cuts, const KernelTable& kernels, const TileWords& words,
                                         bool dense, OutputTerms terms, WeightMemory& memory);

}  // namespace paddle_unstructured::int8
