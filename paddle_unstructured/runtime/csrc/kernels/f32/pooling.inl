// SPDX-License-Identifier: Apache-2.0
// Maxima and means over windows; the sum of a plane.
//
//   for each channel, each output row
//     for whole vectors of a row of maxima inside the plane's columns                     maxima
//       for each tap: best = max(best, plane[tap])
//     for each output that is left: one after the other                                   pooled

namespace paddle_unstructured::f32 {
namespace {

float sum(const float* values, int64_t count) {
  Vec sums[2] = {};
  int64_t i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
    sums[0] += load(values + i);
    sums[1] += load(values + i + kLanes);
  }
  float total = sum_of(sums[0] + sums[1]);
  for (; i < count; ++i) total += values[i];
  return total;
}

float pooled(const Pool& task, const float* plane, int32_t row, int32_t column) {
  const Window& w = task.window;
  const Reach reach = reach_of(w, row, column);
  float result = task.maximum ? -__builtin_inff() : 0.0f;
  for (int32_t i = reach.top; i < reach.bottom; ++i)
    for (int32_t j = reach.left; j < reach.right; ++j) {
      const float value = plane[static_cast<ptrdiff_t>(i) * w.width + j];
      result = !task.maximum ? result + value : value > result || value != value ? value : result;  // a NaN stays
    }
  if (task.maximum) return result;
  return result / static_cast<float>(pixels_counted(w, task.exclusive, row, column, reach));
}

// Of planes without a NaN, of which `maximum` takes no notice. The last vector of a row overlaps the one before it.
int32_t maxima(const Window& w, const float* plane, int32_t row, int32_t column, float* output) {
  const auto vector = [&](int32_t at) {
    const Reach reach = reach_of(w, row, at);
    const int32_t x = at * w.stride_width - w.pad_left;
    Vec best = broadcast(-__builtin_inff());
    for (int32_t i = reach.top; i < reach.bottom; ++i)
      for (int32_t j = 0; j < w.kernel_width; ++j) {
        const float* from = plane + static_cast<ptrdiff_t>(i) * w.width + x + j;
        best = maximum(best, w.stride_width == 1 ? load(from) : load_even(from));
      }
    store(output + at, best);
  };
  const int32_t left = for_vectors_inside(w, column, vector), last = w.output_width - kLanes;
  if (left == column || left == w.output_width) return left;
  return for_vectors_inside(w, last, vector) == w.output_width ? w.output_width : left;
}

void pool(const Pool& task) {
  const Window& w = task.window;
  for (int32_t channel = task.first; channel < task.last; ++channel) {
    const float* const plane = task.input.data + channel * task.input.pitch;
    const float total = task.maximum ? sum(plane, int64_t{w.height} * w.width) : 0.0f;  // NaN if the plane has one
    const bool fast = task.maximum && w.stride_width <= 2 && total == total;
    float* output = task.output + channel * task.output_pitch;
    for (int32_t row = 0; row < w.output_height; ++row, output += w.output_width)
      for (int32_t column = 0; column < w.output_width; ++column) {
        if (fast) column = maxima(w, plane, row, column, output);
        if (column < w.output_width) output[column] = pooled(task, plane, row, column);
      }
  }
}

}  // namespace
}  // namespace paddle_unstructured::f32
