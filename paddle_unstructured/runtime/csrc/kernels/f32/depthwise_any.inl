// SPDX-License-Identifier: Apache-2.0
// Depthwise of any other window whose columns have stride 1 or 2: strides that differ, dilations, 7x7, 1x3, ...
//
//   for each channel                                                  depthwise_any
//     for each output row
//       for each 4 vectors of columns, then for each vector           columns_of_outputs
//         sums[Vectors] = bias
//         for each tap: sums += tap * the pixels under it
//         output = clamp(sums)                                        store_row

namespace paddle_unstructured::f32 {
namespace {

template <int Stride, int Vectors>
PU_INLINE void columns_of_outputs(const Depthwise& task, int32_t channel, const float* plane, float* output,
                                  int32_t row, int32_t column) {
  constexpr int32_t kReach = Stride * kLanes;  // columns of the plane under one tap of a vector
  const Window& w = task.window;
  const int32_t top = row * w.stride_height - w.pad_top, left = column * Stride - w.pad_left;
  const bool inside = left >= 0 && left + (w.kernel_width - 1) * w.dilation_width + Vectors * kReach <= w.width;
  const float* const filter = task.weight + static_cast<ptrdiff_t>(channel) * w.kernel_height * w.kernel_width;
  Vec sums[Vectors];
  for (int v = 0; v < Vectors; ++v) sums[v] = broadcast(task.bias[channel]);
  for (int32_t i = 0; i < w.kernel_height; ++i) {
    const int32_t y = top + i * w.dilation_height;
    if (y < 0 || y >= w.height) continue;
    const float* const line = plane + static_cast<ptrdiff_t>(y) * w.width;
    for (int32_t j = 0; j < w.kernel_width; ++j) {
      const Vec tap = broadcast(filter[i * w.kernel_width + j]);
      PU_UNROLL(4)
      for (int v = 0; v < Vectors; ++v) {
        const int32_t x = left + j * w.dilation_width + v * kReach;
        if (inside)
          sums[v] += tap * (Stride == 1 ? load(line + x) : load_even(line + x));
        else if (x > -kReach && x < w.width)
          sums[v] += tap * load_between<Stride>(line, x, w.width);
      }
    }
  }
  for (int v = 0; v < Vectors; ++v)
    store_row(task, output, static_cast<ptrdiff_t>(row - task.first_row) * w.output_width + column + v * kLanes,
              clamp(sums[v], broadcast(task.low), broadcast(task.high)));
}

template <int Stride>
void depthwise_any(const Depthwise& task) {
  constexpr int32_t kTile = 4 * kLanes;
  const int32_t width = task.window.output_width;
  for (int32_t channel = task.first; channel < task.last; ++channel) {
    const float* const plane = task.input + channel * task.input_pitch;
    float* const output = task.output + channel * task.output_pitch;
    for (int32_t row = task.first_row; row < task.last_row; ++row) {
      int32_t column = 0;
      for (; column + kTile <= width; column += kTile)
        columns_of_outputs<Stride, 4>(task, channel, plane, output, row, column);
      for (; column < width; column += kLanes) columns_of_outputs<Stride, 1>(task, channel, plane, output, row, column);
    }
  }
}

}  // namespace
}  // namespace paddle_unstructured::f32
