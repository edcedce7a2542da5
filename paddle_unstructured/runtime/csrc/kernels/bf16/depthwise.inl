// SPDX-License-Identifier: Apache-2.0
// Depthwise in bfloat16 (../depthwise_rows.inl has the loops): a plane is a pair of channels, which are summed apart.

namespace paddle_unstructured::bf16 {
namespace {

template <int Kernel>
struct PairFilter {
  static constexpr int kKernel = Kernel;
  Vec tap[2][Kernel][Kernel];
  Vec bias[2], low, high;

  PU_INLINE PairFilter(const Depthwise& task, int32_t pair) : low(broadcast(task.low)), high(broadcast(task.high)) {
    for (int c = 0; c < kPair; ++c) {
      const ptrdiff_t channel = ptrdiff_t{kPair} * pair + c;
      const float* const weight = task.weight + channel * Kernel * Kernel;
      for (int i = 0; i < Kernel; ++i)
        for (int j = 0; j < Kernel; ++j) tap[c][i][j] = broadcast(weight[i * Kernel + j]);
      bias[c] = broadcast(task.bias[channel]);
    }
  }

  struct Sums {
    Vec low, high;
  };
  PU_INLINE Sums begin() const { return {bias[0], bias[1]}; }

  struct Row {
    Vec low[Kernel], high[Kernel];
  };
  static PU_INLINE Row row(const Vec (&x)[Kernel]) {
    Row made;
    PU_UNROLL(5)
    for (int j = 0; j < Kernel; ++j) {
      made.low[j] = low_of(reinterpret_cast<IntVec>(x[j]));
      made.high[j] = high_of(reinterpret_cast<IntVec>(x[j]));
    }
    return made;
  }

  PU_INLINE void add(int tap_row, const Row& row, Sums& sums) const {
    PU_UNROLL(5)
    for (int j = 0; j < Kernel; ++j) {
      sums.low = fma(tap[0][tap_row][j], row.low[j], sums.low);
      sums.high = fma(tap[1][tap_row][j], row.high[j], sums.high);
    }
  }

  PU_INLINE Vec finished(const Sums& sums) const {
    return reinterpret_cast<Vec>(words_of(clamp(sums.low, low, high), clamp(sums.high, low, high)));
  }
};

void depthwise(const Depthwise& task) {
  const Flushing flushing;
  depthwise_by<PairFilter>(task);
}

}  // namespace
}  // namespace paddle_unstructured::bf16
