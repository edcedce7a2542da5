// The panel of a convolution: for a run of output pixels, the input value under every kernel tap (im2col, one tile at
// a time). What lies outside the plane is zero.

namespace paddle_unstructured {
namespace {

struct Run {  // consecutive output pixels of one output row
  int32_t row, column, length;
};

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

// One row of the panel. Runs are copied in whole vectors, in order: the next run overwrites the surplus of the last.
void pack_row(const Pack& task, const float* plane, int ky, int kx, float* to) {
  const Window& w = task.window;
  int32_t left = task.vectors * kLanes;
  Run run{static_cast<int32_t>(task.pixel / w.output_width), static_cast<int32_t>(task.pixel % w.output_width), 0};
  while (left > 0) {
    run.length = least(left, w.output_width - run.column);
    copy_run(w, plane, ky, kx, run, to);
    to += run.length;
    left -= run.length;
    run = {run.row + 1, 0, 0};
  }
}

void pack_plain(const Pack& task) {
  const Window& w = task.window;
  float* to = task.panel;
  for (int32_t k = task.first; k < task.last; ++k) {
    const float* from = w.input + k * w.pitch + task.pixel;
    for (int32_t v = 0; v < task.vectors; ++v, to += kLanes) store_aligned(to, load_aligned(from + v * kLanes));
  }
}

bool is_plain(const Window& w) {
  return w.kernel_height == 1 && w.kernel_width == 1 && w.stride_height == 1 && w.stride_width == 1 &&
         w.pad_top == 0 && w.pad_left == 0 && w.height == w.output_height && w.width == w.output_width && w.pitch > 1;
}

void pack(const Pack& task) {
  const Window& w = task.window;
  if (is_plain(w)) return pack_plain(task);
  const int32_t taps = w.kernel_height * w.kernel_width;
  float* to = task.panel;
  for (int32_t k = task.first; k < task.last; ++k, to += task.vectors * kLanes) {
    const int32_t tap = k % taps;
    pack_row(task, w.input + k / taps * w.pitch, tap / w.kernel_width, tap % w.kernel_width, to);
  }
}

}  // namespace
}  // namespace paddle_unstructured
