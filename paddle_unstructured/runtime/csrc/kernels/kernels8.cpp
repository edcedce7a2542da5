// The kernels for bytes of one instruction set, compiled as kernels.cpp is, with -ffp-contract=off.
#include "table8.h"

#if PU_LANES > 4
#include <immintrin.h>
#endif

// GCC takes its own _mm512_undefined_epi32() for a mistake.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

#include "vector8.h"

namespace {
// Vectors of pixels in a tile: sums, weights, one vector of pixels and the rows that wait to be joined have to fit.
#if PU_REGISTERS == 32
constexpr int kSparseVectors1 = 8, kSparseVectors2 = 7, kSparseVectors4 = 5, kDenseVectors = 6;
#elif PU_LANES == 8
constexpr int kSparseVectors1 = 4, kSparseVectors2 = 4, kSparseVectors4 = 2, kDenseVectors = 2;
#else  // every vector takes many instructions: short code matters more
constexpr int kSparseVectors1 = 2, kSparseVectors2 = 1, kSparseVectors4 = 1, kDenseVectors = 1;
#endif
}  // namespace

#include "multiply8.inl"
#include "pack8.inl"
#include "depthwise8.inl"
#include "plane8.inl"

namespace paddle_unstructured {

extern const KernelTable8 PU_TABLE;
const KernelTable8 PU_TABLE = {
    PU_ISA,
    PU_LANES,
    {kSparseVectors1, kSparseVectors2, kSparseVectors4},
    kDenseVectors,
    {sparse<1, kSparseVectors1>, sparse<2, kSparseVectors2>, sparse<4, kSparseVectors4>},
    {sparse_vector<1>, sparse_vector<2>, sparse_vector<4>},
    dense,
    dense_vector,
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
};

}  // namespace paddle_unstructured
