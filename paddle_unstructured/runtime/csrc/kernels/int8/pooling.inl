// SPDX-License-Identifier: Apache-2.0
// Maxima and means over windows; the sums of a group's planes.
//
//   for each group, each output row
//     for whole vectors of a row of maxima inside the plane's columns                     maxima
//       for each tap: best = max(best, plane[tap])
//     for each output that is left: one after the other                                   pool_pixel

namespace paddle_unstructured::int8 {
namespace {

void pool_pixel(const Pool& task, const uint8_t* plane, int32_t row, int32_t column, uint8_t* output) {
  const Reach reach = reach_of(task.window, row, column);
  int32_t best[4] = {}, sums[4] = {};
  for (int32_t i = reach.top; i < reach.bottom; ++i)
    for (int32_t j = reach.left; j < reach.right; ++j)
      for (int c = 0; c < 4; ++c) {
        const int32_t q = plane[(static_cast<ptrdiff_t>(i) * task.window.width + j) * kGroup + c];
        best[c] = most(best[c], q);
        sums[c] += q - task.input_zero;
      }
  const int32_t counted = most(pixels_counted(task.window, task.exclusive, row, column, reach), 1);
  const float scale = task.maximum ? 0.0f : static_cast<float>(task.input_scale / (counted * task.output_scale));
  for (int c = 0; c < 4; ++c) {
    const float real = __builtin_fmaf(static_cast<float>(sums[c]), scale, task.zero);
    const float rounded = __builtin_rintf(real < 0.0f ? 0.0f : real > 255.0f ? 255.0f : real);
    output[c] = static_cast<uint8_t>(task.maximum ? best[c] : static_cast<int32_t>(rounded));
  }
}

int32_t maxima(const Window& w, const uint8_t* plane, int32_t row, int32_t column, uint8_t* output) {
  return for_vectors_inside(w, column, [&](int32_t at) {
    const Reach reach = reach_of(w, row, at);
    const int32_t x = at * w.stride_width - w.pad_left;
    IntVec best{};
    for (int32_t i = reach.top; i < reach.bottom; ++i)
      for (int32_t j = 0; j < w.kernel_width; ++j) {
        const auto* const from = reinterpret_cast<const float*>(plane) + static_cast<ptrdiff_t>(i) * w.width + x + j;
        best = at_least(best, reinterpret_cast<IntVec>(w.stride_width == 1 ? load(from) : load_even(from)));
      }
    store_ints(output + at * kGroup, best);
  });
}

void pool(const Pool& task) {
  const Window& w = task.window;
  const bool fast = task.maximum && w.stride_width <= 2;
  for (int32_t group = task.first; group < task.last; ++group) {
    const uint8_t* const plane = task.input.data + group * task.input.pitch;
    uint8_t* output = task.output + group * task.output_pitch;
    for (int32_t row = 0; row < w.output_height; ++row, output += w.output_width * kGroup)
      for (int32_t column = 0; column < w.output_width; ++column) {
        if (fast) column = maxima(w, plane, row, column, output);
        if (column < w.output_width) pool_pixel(task, plane, row, column, output + column * kGroup);
      }
  }
}

void sum(const uint8_t* group, int64_t count, int32_t* sums) {
  IntVec total[4] = {};
  Weights one[4];
  PU_UNROLL(4)
  for (int c = 0; c < 4; ++c) one[c] = weights(broadcast_int(1 << 8 * c));
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Pixels four = pixels(load_ints(group + i * kGroup));
    PU_UNROLL(4)
    for (int c = 0; c < 4; ++c) total[c] = dot(total[c], four, one[c]);
  }
  for (int c = 0; c < 4; ++c) {
    sums[c] = 0;
    for (int lane = 0; lane < kLanes; ++lane) sums[c] += total[c][lane];
    for (int64_t left = i; left < count; ++left) sums[c] += group[left * kGroup + c];
  }
}

}  // namespace
}  // namespace paddle_unstructured::int8
