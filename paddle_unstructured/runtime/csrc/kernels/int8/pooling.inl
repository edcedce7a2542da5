// SPDX-License-Identifier: Apache-2.0
// Maxima and means over windows; the sums of a group's planes.
//
//   for each group, each output row
//     maxima, stride 1 or 2: for each vector of outputs, each tap: best = max(best, plane[tap])  maxima
//     all others: one output after the other                                                     pool_pixel

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

// A row of outputs, whole vectors; beyond the plane's columns stand zeros, the least bytes.
template <int Stride>
PU_INLINE void maxima(const Window& w, const uint8_t* plane, int32_t row, uint8_t* output) {
  const auto* const pixels = reinterpret_cast<const float*>(plane);
  const int32_t top = row * w.stride_height - w.pad_top;
  const int32_t first = most(top, 0), last = least(top + w.kernel_height, w.height);
  for (int32_t column = 0; column < w.output_width; column += kLanes) {
    const int32_t x = column * Stride - w.pad_left;
    const bool inside = x >= 0 && x + kLanes * Stride - 1 + w.kernel_width <= w.width;
    IntVec best{};
    for (int32_t i = first; i < last; ++i) {
      const float* const from = pixels + static_cast<ptrdiff_t>(i) * w.width;
      for (int32_t j = 0; j < w.kernel_width; ++j) {
        const Vec found = !inside       ? load_between<Stride>(from, x + j, w.width)
                          : Stride == 1 ? load(from + x + j)
                                        : load_even(from + x + j);
        best = at_least(best, reinterpret_cast<IntVec>(found));
      }
    }
    if (column + kLanes <= w.output_width)
      store_ints(output + column * kGroup, best);
    else
      store_lanes(reinterpret_cast<float*>(output) + column, reinterpret_cast<Vec>(best),
                  lanes_between(0, w.output_width - column));
  }
}

void pool(const Pool& task) {
  const Window& w = task.window;
  for (int32_t group = task.first; group < task.last; ++group) {
    const uint8_t* const plane = task.input.data + group * task.input.pitch;
    uint8_t* output = task.output + group * task.output_pitch;
    for (int32_t row = 0; row < w.output_height; ++row, output += w.output_width * kGroup) {
      if (task.maximum && w.stride_width == 1) {
        maxima<1>(w, plane, row, output);
      } else if (task.maximum && w.stride_width == 2) {
        maxima<2>(w, plane, row, output);
      } else {
        for (int32_t column = 0; column < w.output_width; ++column)
          pool_pixel(task, plane, row, column, output + column * kGroup);
      }
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
    sums[c] += static_cast<int32_t>(i) * kShift;
    for (int64_t left = i; left < count; ++left) sums[c] += group[left * kGroup + c];
  }
}

}  // namespace
}  // namespace paddle_unstructured::int8
