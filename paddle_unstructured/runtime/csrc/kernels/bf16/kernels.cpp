// SPDX-License-Identifier: Apache-2.0
// The bfloat16 kernels of one instruction set, compiled as int8/kernels.cpp is. PU_TILES is 1 where the processor has
// tiles; elsewhere the same algorithm runs on vectors. Panels are packed as those of int8 are.
#include "table.h"

#include "../simd/tile_unit.h"
#include "../simd/windows.h"

namespace {
constexpr int kSparseVectors1 = 0;  // the widest tile is one of kTileVectors
}

#include "../int8/pack.inl"
#include "../tile_run.inl"
#include "numbers.h"
#include "tiles.inl"
#include "../depthwise_rows.inl"
#include "depthwise.inl"
#include "pooling.inl"

namespace paddle_unstructured::bf16 {
namespace {

void round(const float* low, const float* high, uint8_t* words, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes)
    int8::store_aligned_ints(words + i * int64_t{sizeof(int32_t)},
                             words_of(load(low + i), high == nullptr ? Vec{} : load(high + i)));
}

void widen(const uint8_t* words, int32_t channel, float* output, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const IntVec both = int8::load_aligned_ints(words + i * int64_t{sizeof(int32_t)});
    store_aligned(output + i, channel == 0 ? low_of(both) : high_of(both));
  }
}

}  // namespace

extern const KernelTable PU_TABLE;
const KernelTable PU_TABLE = {PU_ISA, kLanes, multiply, int8::split, int8::pack, depthwise, pool, round, widen};

}  // namespace paddle_unstructured::bf16
