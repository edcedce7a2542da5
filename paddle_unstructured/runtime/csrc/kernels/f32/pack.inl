// SPDX-License-Identifier: Apache-2.0
// The panel of a convolution: for a run of output pixels, the input value under every kernel tap (im2col, one tile at
// a time). What lies outside the plane is zero.
//
//   for each panel row k = (channel, ky, kx)                          pack
//     for each run of pixels that lie in one output row               for_each_run
//       for each vector of the run                                    copy_run
//         panel[k][pixel] = plane[channel][y * stride + ky][x * stride + kx], or 0 beyond the edge

namespace paddle_unstructured::f32 {
namespace {

PU_INLINE Vec load_taps(const float* row, int32_t column, int32_t stride, int32_t width) {
  return stride == 1 ? load_between<1>(row, column, width) : load_between<2>(row, column, width);
}

void copy_run(const Window& w, const float* plane, int ky, int kx, Run run, float* to) {
  const int32_t y = run.row * w.stride_height - w.pad_top + ky * w.dilation_height;
  const int32_t x = run.column * w.stride_width - w.pad_left + kx * w.dilation_width;
  if (y < 0 || y >= w.height || run.row >= w.output_height) {
    for (int32_t i = 0; i < run.length; i += kLanes) store(to + i, Vec{});
    return;
  }
  const float* const row = plane + static_cast<ptrdiff_t>(y) * w.width;
  if (w.stride_width <= 2) {
    for (int32_t i = 0; i < run.length; i += kLanes) {
      const int32_t column = x + i * w.stride_width;
      const bool reaches = column < w.width && column + w.stride_width * kLanes > 0;
      store(to + i, reaches ? load_taps(row, column, w.stride_width, w.width) : Vec{});
    }
    return;
  }
  for (int32_t i = 0; i < run.length; ++i) {
    const int32_t column = x + i * w.stride_width;
    to[i] = column >= 0 && column < w.width ? row[column] : 0.0f;
  }
}

void pack_plain(const Pack& task) {
  float* to = task.panel;
  for (int32_t k = task.first; k < task.last; ++k) {
    const float* from = task.input.data + k * task.input.pitch + task.pixel;
    for (int32_t v = 0; v < task.vectors * kTogether; ++v, to += kLanes)
      store_aligned(to, load_aligned(from + v * kLanes));
  }
}

void pack(const Pack& task) {
  const Window& w = task.window;
  if (is_plain(w)) return pack_plain(task);
  const int32_t taps = w.kernel_height * w.kernel_width, pixels = task.vectors * kTogether * kLanes;
  float* row = task.panel;
  for (int32_t k = task.first; k < task.last; ++k, row += pixels) {
    const float* const plane = task.input.data + k / taps * task.input.pitch;
    const int32_t tap = k % taps, ky = tap / w.kernel_width, kx = tap % w.kernel_width;
    for_each_run(w, task.pixel, pixels, row, [&](Run run, float* to) { copy_run(w, plane, ky, kx, run, to); });
  }
}

}  // namespace
}  // namespace paddle_unstructured::f32
