// SPDX-License-Identifier: Apache-2.0
// The int8 kernels of one instruction set, compiled as f32/kernels.cpp is, but with -ffp-contract=off.
#include "table.h"

#include "../simd/int8.h"
#include "../simd/windows.h"

namespace {
// Vectors of pixels in a tile: sums, weights, one vector of pixels and the rows that wait to be joined have to fit.
#if PU_NEON
constexpr int kSparseVectors1 = 24, kSparseVectors2 = 12, kSparseVectors4 = 4, kDenseVectors = 4;
#elif PU_REGISTERS == 32
constexpr int kSparseVectors1 = 8, kSparseVectors2 = 7, kSparseVectors4 = 5, kDenseVectors = 6;
#elif PU_LANES == 8
constexpr int kSparseVectors1 = 4, kSparseVectors2 = 4, kSparseVectors4 = 2, kDenseVectors = 2;
#else  // every vector takes many instructions: short code matters more
constexpr int kSparseVectors1 = 2, kSparseVectors2 = 1, kSparseVectors4 = 1, kDenseVectors = 1;
#endif
#if PU_REGISTERS == 32 && !defined(PU_NEON)
constexpr int kPairedVectors = 8;
#else
constexpr int kPairedVectors = 0;  // two rows of sums do not fit, or need no loads of their own
#endif
}  // namespace

#include "multiply.inl"
#include "pack.inl"
#include "depthwise.inl"
#include "elementwise.inl"
#include "pooling.inl"
#include "quantize.inl"
#include "resize.inl"

namespace paddle_unstructured::int8 {

extern const KernelTable PU_TABLE;
const KernelTable PU_TABLE = {
    PU_ISA,
    nullptr,
    false,
    kShift,
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
    split,
    pack,
    depthwise,
    pool,
    requantize,
    real_row,
    real_vector,
    quantize_group,
    quantize,
    dequantize_plane,
    dequantize,
    add,
    multiply,
    multiply_group,
    lookup,
    sum,
    blend,
};

}  // namespace paddle_unstructured::int8
