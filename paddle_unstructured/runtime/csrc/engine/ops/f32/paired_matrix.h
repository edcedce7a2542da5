// SPDX-License-Identifier: Apache-2.0
// Sparse rows of single weights, two at a time: what both have a weight for is loaded once.
#pragma once

#include <memory>

#include "matrix.h"

namespace paddle_unstructured::f32 {

// Rows are paired within so many of them, whatever slices there are: the sums are the same for any number of threads.
constexpr int32_t kPairedWithin = 32;

// `cuts` has slices that begin on multiples of kPairedWithin.
std::unique_ptr<Matrix> make_paired_matrix(const MatrixCuts& cuts, const SparseIndices& rows, const float* values,
                                           const float* bias);

}  // namespace paddle_unstructured::f32
