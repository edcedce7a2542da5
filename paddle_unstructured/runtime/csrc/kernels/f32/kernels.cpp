// SPDX-License-Identifier: Apache-2.0
// The float32 kernels of one instruction set. Compiled once per set, with PU_TABLE, PU_ISA, PU_LANES, PU_REGISTERS
// given on the command line. No header of the C++ library with code in it is included here: the linker keeps one copy
// of an inline function, and it might be the one with instructions that this machine does not have.
#include "table.h"

#include "../simd/vector.h"
#include "../simd/windows.h"

namespace {
// Vectors of pixels in a tile: accumulators, weights and one vector of pixels have to fit into the registers.
#if PU_NEON
constexpr int kSparseVectors1 = 20, kSparseVectors2 = 12, kSparseVectors4 = 4, kPairedVectors = 0, kDenseVectors = 4;
#else
constexpr int kSparseVectors1 = PU_REGISTERS == 32 ? 7 : 8;
constexpr int kSparseVectors2 = PU_REGISTERS == 32 ? 7 : 4;
constexpr int kSparseVectors4 = PU_REGISTERS == 32 ? 5 : 2;
constexpr int kPairedVectors = PU_REGISTERS == 32 ? 7 : 0;  // fewer registers than two rows of sums need
constexpr int kDenseVectors = PU_REGISTERS == 32 ? 6 : 2;
#endif
}  // namespace

#include "multiply.inl"
#include "pack.inl"
#include "../depthwise_rows.inl"
#include "depthwise.inl"
#include "elementwise.inl"
#include "pooling.inl"
#include "softmax.inl"
#include "attention.inl"
#include "norm.inl"
#include "product.inl"
#include "recurrent.inl"

namespace paddle_unstructured::f32 {

extern const KernelTable PU_TABLE;
const KernelTable PU_TABLE = {
    PU_ISA,
    PU_LANES * kTogether,
    {kSparseVectors1 / kTogether, kSparseVectors2 / kTogether, kSparseVectors4 / kTogether},
    kPairedVectors / kTogether,
    kDenseVectors / kTogether,
    {sparse<1, kSparseVectors1>, sparse<2, kSparseVectors2>, sparse<4, kSparseVectors4>},
    {sparse_vector<1>, sparse_vector<2>, sparse_vector<4>},
    paired<kPairedVectors>,
    paired_vector,
    dense,
    dense_vector,
    pack,
    depthwise,
    pool,
    sum,
    activate,
    pair,
    fold,
    scale_shift,
    prelu,
    weigh,
    weigh_places,
    softmax,
    softmax_channels,
    arg_channels,
    softmax_rows,
    norm,
    sum_of_squares,
    product,
    transpose,
    lstm,
    gru,
};

}  // namespace paddle_unstructured::f32
