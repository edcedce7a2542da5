// SPDX-License-Identifier: Apache-2.0
// exp(x - max x) / sum of these, or the logarithm of that: over a vector, or over the channels of each pixel; and the
// channel of the largest or smallest number.
//
//   for each vector of pixels                                        softmax_channels, arg_channels
//     for each channel: largest;  for each channel: exp, sum;  for each channel: scale

namespace paddle_unstructured::f32 {
namespace {

void softmax(const float* input, float* output, int64_t count, bool log) {
  const float largest = fold(Pair::kMaximum, input, count);
  const auto power = [&](int64_t i) { return exponential(load(input + i) - largest); };
  if (log) {
    float total = 0;
    for (int64_t i = 0; i < count; i += kLanes) {
      const Vec v = power(i);
      for (int lane = 0; lane < kLanes && i + lane < count; ++lane) total += v[lane];
    }
    const float shift = largest + __builtin_logf(total);
    return map([&](int64_t i) { return load(input + i) - shift; }, output, count);
  }
  map(power, output, count);
  const float scale = 1.0f / sum(output, count);
  map([&](int64_t i) { return load(output + i) * scale; }, output, count);
}

void softmax_channels(const OverChannels& task) {
  for (int64_t pixel = 0; pixel < task.pixels; pixel += kLanes) {
    const float* const from = task.input + pixel;
    float* const to = task.output + pixel;
    const int lanes = static_cast<int>(task.pixels - pixel < kLanes ? task.pixels - pixel : kLanes);
    const auto x = [&](int64_t channel) { return load(from + channel * task.input_pitch); };
    Vec largest = x(0), total{};
    for (int64_t c = 1; c < task.channels; ++c) largest = maximum(largest, x(c));
    for (int64_t c = 0; c < task.channels; ++c) {
      const Vec power = exponential(x(c) - largest);
      total += power;
      if (!task.log) store_first(to + c * task.output_pitch, power, lanes);
    }
    if (task.log) {
      for (int lane = 0; lane < kLanes; ++lane) total[lane] = __builtin_logf(total[lane]);
      const Vec shift = largest + total;
      for (int64_t c = 0; c < task.channels; ++c) store_first(to + c * task.output_pitch, x(c) - shift, lanes);
      continue;
    }
    const Vec scale = 1.0f / total;
    for (int64_t c = 0; c < task.channels; ++c)
      store_first(to + c * task.output_pitch, load(to + c * task.output_pitch) * scale, lanes);
  }
}

void arg_channels(const OverChannels& task, bool maximum) {
  for (int64_t pixel = 0; pixel < task.pixels; pixel += kLanes) {
    const float* const from = task.input + pixel;
    Vec best = load(from), which{};
    for (int64_t c = 1; c < task.channels; ++c) {
      const Vec x = load(from + c * task.input_pitch);
      const IntVec better = maximum ? x > best : x < best;  // the first of equal ones
      best = choose(better, x, best);
      which = choose(better, broadcast(static_cast<float>(c)), which);
    }
    store_first(task.output + pixel, which,
                static_cast<int>(task.pixels - pixel < kLanes ? task.pixels - pixel : kLanes));
  }
}

}  // namespace
}  // namespace paddle_unstructured::f32
