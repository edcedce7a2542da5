// SPDX-License-Identifier: Apache-2.0
// The panel of a convolution: for a run of output pixels, the four channels of a group under every kernel tap. What
// lies outside the plane is the input's zero point.
//
//   for each panel row k = (ky, kx, group)                            pack
//     for each run of pixels that lie in one output row               for_each_run
//       for each vector of the run                                    copy_run
//         panel[k][pixel] = plane[group][y * stride + ky][x * stride + kx], or zero points beyond the edge

namespace paddle_unstructured::int8 {
namespace {

// Lanes whose column lies in [0, width), else `beyond`; reads `stride` vectors.
PU_INLINE IntVec load_within(const int32_t* row, int32_t column, int32_t stride, int32_t width, IntVec beyond) {
  const float* const from = reinterpret_cast<const float*>(row + column);
  const IntVec columns = lane_numbers() * stride + column;
  const IntVec inside = (columns >= 0) & (columns < width);
  return reinterpret_cast<IntVec>(
      choose(inside, stride == 1 ? load(from) : load_even(from), reinterpret_cast<Vec>(beyond)));
}

PU_INLINE void copy_run(const Pack& task, const int32_t* plane, int ky, int kx, Run run, int32_t* to) {
  const Window& w = task.window;
  const IntVec beyond = broadcast_int(four_times(task.zero));
  const int32_t y = run.row * w.stride_height - w.pad_top + ky * w.dilation_height;
  const int32_t x = run.column * w.stride_width - w.pad_left + kx * w.dilation_width;
  if (y < 0 || y >= w.height || run.row >= w.output_height) {
    for (int32_t i = 0; i < run.length; i += kLanes) store_ints(to + i, beyond);
    return;
  }
  const int32_t* const row = plane + static_cast<ptrdiff_t>(y) * w.width;
  if (w.stride_width > 2) {
    for (int32_t i = 0; i < run.length; ++i) {
      const int32_t column = x + i * w.stride_width;
      to[i] = column >= 0 && column < w.width ? row[column] : beyond[0];
    }
    return;
  }
  const int32_t last = (kLanes - 1) * w.stride_width;
  for (int32_t i = 0; i < run.length; i += kLanes) {
    const int32_t column = x + i * w.stride_width;
    if (column >= 0 && column + last < w.width) {
      const float* const from = reinterpret_cast<const float*>(row + column);
      store(reinterpret_cast<float*>(to + i), w.stride_width == 1 ? load(from) : load_even(from));
    } else {
      const bool reaches = column < w.width && column + last >= 0;
      store_ints(to + i, reaches ? load_within(row, column, w.stride_width, w.width, beyond) : beyond);
    }
  }
}

void pack_plain(const Pack& task) {
  auto* to = reinterpret_cast<int32_t*>(task.panel);
  for (int32_t k = task.first; k < task.last; ++k) {
    const auto* from = reinterpret_cast<const int32_t*>(task.input.data + k * task.input.pitch) + task.pixel;
    for (int32_t v = 0; v < task.vectors; ++v, to += kLanes)
      store_aligned_ints(to, load_aligned_ints(from + v * kLanes));
  }
}

void pack(const Pack& task) {
  const Window& w = task.window;
  if (is_plain(w)) return pack_plain(task);
  const int32_t pixels = task.vectors * kLanes;
  auto* row = reinterpret_cast<int32_t*>(task.panel);
  for (int32_t k = task.first; k < task.last; ++k, row += pixels) {
    const int32_t tap = k / task.groups, ky = tap / w.kernel_width, kx = tap % w.kernel_width;
    const auto* const plane = reinterpret_cast<const int32_t*>(task.input.data + k % task.groups * task.input.pitch);
    for_each_run(w, task.pixel, pixels, row, [&](Run run, int32_t* to) { copy_run(task, plane, ky, kx, run, to); });
  }
}

}  // namespace
}  // namespace paddle_unstructured::int8
