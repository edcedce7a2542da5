// SPDX-License-Identifier: Apache-2.0
// Depthwise in float32 (../depthwise_rows.inl has the loops): a plane is one channel. depthwise_any.inl has
// the windows that are neither 3x3 nor 5x5 of one stride.

#include "depthwise_any.inl"

namespace paddle_unstructured::f32 {
namespace {

template <int Kernel>
struct ChannelFilter {
  static constexpr int kKernel = Kernel;
  Vec tap[Kernel][Kernel];
  Vec bias, low, high;

  PU_INLINE ChannelFilter(const Depthwise& task, int32_t channel)
      : bias(broadcast(task.bias[channel])),
        low(broadcast(task.low)),
        high(broadcast(task.high)) {
    const float* const weight = task.weight + ptrdiff_t{channel} * Kernel * Kernel;
    for (int i = 0; i < Kernel; ++i)
      for (int j = 0; j < Kernel; ++j) tap[i][j] = broadcast(weight[i * Kernel + j]);
  }

  using Sums = Vec;
  PU_INLINE Sums begin() const { return bias; }
  struct Row {
    const Vec (&x)[Kernel];
  };
  static PU_INLINE Row row(const Vec (&x)[Kernel]) { return {x}; }

  PU_INLINE void add(int tap_row, const Row& row, Sums& sums) const {
    PU_UNROLL(5)
    for (int j = 0; j < Kernel; ++j) sums += tap[tap_row][j] * row.x[j];
  }

  PU_INLINE Vec finished(Sums sums) const { return clamp(sums, low, high); }
};

void depthwise(const Depthwise& task) {
  if (is_square(task.window, 3) || is_square(task.window, 5)) return depthwise_by<ChannelFilter>(task);
  return task.window.stride_width == 1 ? depthwise_any<1>(task) : depthwise_any<2>(task);
}

}  // namespace
}  // namespace paddle_unstructured::f32
