// SPDX-License-Identifier: Apache-2.0
// How much of each value a query takes: softmax over the rows of planes, each pixel by itself, and what is added
// before.
//
//   for each vector of pixels                                         softmax_rows
//     for each row: x = input * factor + what is added; largest = max(largest, x)
//     for each row: output = exp(x - largest); total += output
//     1 / total, for whoever multiplies next

namespace paddle_unstructured::f32 {
namespace {

template <int Vectors>
void softmax_tile(const SoftmaxRows& task, int64_t pixel, int32_t pixels) {
  Vec largest[Vectors], total[Vectors] = {};
  for (int v = 0; v < Vectors; ++v) largest[v] = broadcast(-__builtin_inff());
  const IntVec lane = lane_numbers();
  for (int32_t row = 0; row < task.rows; ++row) {
    const float shift = task.row_shift != nullptr ? task.row_shift[row] : 0.0f;
    const int64_t first = row - task.last_row - pixel;  // the first pixel of this tile that sees the row
    float* const output = task.output + row * task.output_pitch + pixel;
    PU_UNROLL(4)
    for (int v = 0; v < Vectors; ++v) {
      Vec x = load(task.input + row * task.input_pitch + pixel + v * kLanes) * task.factor + shift;
      for (int i = 0; i < 2; ++i)
        if (task.added[i] != nullptr) x += load(task.added[i] + row * task.added_pitch[i] + pixel + v * kLanes);
      if (first > v * kLanes)
        x = choose(lane + v * kLanes >= static_cast<int32_t>(first), x, broadcast(-__builtin_inff()));
      largest[v] = maximum(largest[v], x);
      store_first(output + v * kLanes, x, pixels - v * kLanes);
    }
  }
  for (int32_t row = 0; row < task.rows; ++row) {
    float* const output = task.output + row * task.output_pitch + pixel;
    PU_UNROLL(4)
    for (int v = 0; v < Vectors; ++v) {
      const Vec x = exponential(load(output + v * kLanes) - largest[v]);
      total[v] += x;
      store_first(output + v * kLanes, x, pixels - v * kLanes);
    }
  }
  for (int v = 0; v < Vectors; ++v)
    store_first(task.inverse + pixel + v * kLanes, 1.0f / total[v], pixels - v * kLanes);
}

struct SoftmaxRun {
  const SoftmaxRows& task;
  int64_t pixel;
  int32_t pixels;
  template <int Vectors>
  void with() const {
    softmax_tile<Vectors>(task, pixel, pixels);
  }
};

void softmax_rows(const SoftmaxRows& task) {
  constexpr int64_t kTile = 4 * kLanes;
  for (int64_t pixel = 0; pixel < task.pixels; pixel += kTile) {
    const auto pixels = static_cast<int32_t>(task.pixels - pixel < kTile ? task.pixels - pixel : kTile);
    with_constant<4>((pixels + kLanes - 1) / kLanes, SoftmaxRun{task, pixel, pixels});
  }
}

}  // namespace
}  // namespace paddle_unstructured::f32
