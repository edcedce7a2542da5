// The panel of a convolution of bytes: for a run of output pixels, the four channels of a group under every kernel tap.
// What lies outside the plane is the input's zero point.

namespace paddle_unstructured {
namespace {

struct Run {  // consecutive output pixels of one output row
  int32_t row, column, length;
};

// Lanes whose column lies in [0, width), else `beyond`; reads `stride` vectors.
PU_INLINE IntVec load_within(const int32_t* row, int32_t column, int32_t stride, int32_t width, IntVec beyond) {
  const float* const from = reinterpret_cast<const float*>(row + column);
  const IntVec columns = lane_numbers() * stride + column;
  const IntVec inside = (columns >= 0) & (columns < width);
  return reinterpret_cast<IntVec>(choose(inside, stride == 1 ? load(from) : load_even(from),
                                         reinterpret_cast<Vec>(beyond)));
}

PU_INLINE void copy_run(const Pack8& task, const int32_t* plane, int ky, int kx, Run run, int32_t* to) {
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

// One row of the panel. Runs are copied in whole vectors, in order: the next run overwrites the surplus of the last.
void pack_row(const Pack8& task, const int32_t* plane, int ky, int kx, int32_t* to) {
  const Window& w = task.window;
  int32_t left = task.vectors * kLanes;
  Run run{static_cast<int32_t>(task.pixel / w.output_width), static_cast<int32_t>(task.pixel % w.output_width), 0};
  while (left > 0) {
    run.length = least(left, w.output_width - run.column);
    copy_run(task, plane, ky, kx, run, to);
    to += run.length;
    left -= run.length;
    run = {run.row + 1, 0, 0};
  }
}

void pack_plain(const Pack8& task) {
  auto* to = reinterpret_cast<int32_t*>(task.panel);
  for (int32_t k = task.first; k < task.last; ++k) {
    const auto* from = reinterpret_cast<const int32_t*>(task.window.input + k * task.window.pitch) + task.pixel;
    for (int32_t v = 0; v < task.vectors; ++v, to += kLanes)
      store_aligned_ints(to, load_aligned_ints(from + v * kLanes));
  }
}

bool is_plain(const Window& w) {
  return w.kernel_height == 1 && w.kernel_width == 1 && w.stride_height == 1 && w.stride_width == 1 &&
         w.pad_top == 0 && w.pad_left == 0 && w.height == w.output_height && w.width == w.output_width && w.pitch > 1;
}

void pack(const Pack8& task) {
  const Window& w = task.window;
  if (is_plain(w)) return pack_plain(task);
  auto* to = reinterpret_cast<int32_t*>(task.panel);
  for (int32_t k = task.first; k < task.last; ++k, to += task.vectors * kLanes) {
    const int32_t tap = k / task.groups;
    const auto* const plane = reinterpret_cast<const int32_t*>(w.input + k % task.groups * w.pitch);
    pack_row(task, plane, tap / w.kernel_width, tap % w.kernel_width, to);
  }
}

}  // namespace
}  // namespace paddle_unstructured
