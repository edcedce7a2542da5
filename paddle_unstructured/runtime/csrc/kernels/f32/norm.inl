// SPDX-License-Identifier: Apache-2.0
// Means and variances: of each pixel over its channels, and of a run of numbers.
//
//   for each tile of pixels, `Vectors` vectors wide                   norm
//     for each channel: sums += plane[channel][pixel]                 norm_tile
//     for each channel: squares += (plane[channel][pixel] - mean)^2
//     for each channel: output = (plane[channel][pixel] - mean) / sqrt(squares / channels + epsilon) * scale + shift

namespace paddle_unstructured::f32 {
namespace {

template <int Vectors>
void norm_tile(const Norm& task, int64_t pixel, int32_t pixels) {
  const float* const input = task.input + pixel;
  const float inverse = 1.0f / static_cast<float>(task.channels);
  Vec mean[Vectors] = {}, factor[Vectors] = {};
  if (task.center) {
    for (int32_t c = 0; c < task.channels; ++c) PU_UNROLL(4)
    for (int v = 0; v < Vectors; ++v) mean[v] += load(input + c * task.input_pitch + v * kLanes);
    for (int v = 0; v < Vectors; ++v) mean[v] *= inverse;
  }
  for (int32_t c = 0; c < task.channels; ++c) PU_UNROLL(4)
  for (int v = 0; v < Vectors; ++v) {
    const Vec x = load(input + c * task.input_pitch + v * kLanes) - mean[v];
    factor[v] += x * x;
  }
  for (int v = 0; v < Vectors; ++v)
    for (int i = 0; i < kLanes; ++i) factor[v][i] = 1.0f / __builtin_sqrtf(factor[v][i] * inverse + task.epsilon);
  for (int32_t c = 0; c < task.channels; ++c) {
    float* const output = task.output + c * task.output_pitch + pixel;
    PU_UNROLL(4)
    for (int v = 0; v < Vectors; ++v) {
      const Vec x = (load(input + c * task.input_pitch + v * kLanes) - mean[v]) * factor[v];
      store_first(output + v * kLanes, x * task.scale[c] + task.shift[c], pixels - v * kLanes);
    }
  }
}

struct NormRun {
  const Norm& task;
  int64_t pixel;
  int32_t pixels;
  template <int Vectors>
  void with() const {
    norm_tile<Vectors>(task, pixel, pixels);
  }
};

void norm(const Norm& task) {
  constexpr int64_t kTile = 4 * kLanes;
  for (int64_t pixel = 0; pixel < task.pixels; pixel += kTile) {
    const auto pixels = static_cast<int32_t>(task.pixels - pixel < kTile ? task.pixels - pixel : kTile);
    with_constant<4>((pixels + kLanes - 1) / kLanes, NormRun{task, pixel, pixels});
  }
}

// Of (value - middle)^2.
float sum_of_squares(const float* values, float middle, int64_t count) {
  Vec total[2] = {};
  int64_t i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes) PU_UNROLL(2)
  for (int v = 0; v < 2; ++v) {
    const Vec x = load(values + i + v * kLanes) - middle;
    total[v] += x * x;
  }
  for (; i < count; i += kLanes) {
    const Vec x = keep(load(values + i) - middle, lanes_between(0, static_cast<int>(count - i)));
    total[0] += x * x;
  }
  return sum_of(total[0] + total[1]);
}

}  // namespace
}  // namespace paddle_unstructured::f32
