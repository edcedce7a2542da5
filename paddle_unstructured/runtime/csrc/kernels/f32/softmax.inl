// SPDX-License-Identifier: Apache-2.0
// exp(x - max x) / sum of these, over a vector.

namespace paddle_unstructured::f32 {
namespace {

void softmax(const float* input, float* output, int64_t count) {
  float largest = input[0];
  for (int64_t i = 1; i < count; ++i) largest = input[i] > largest ? input[i] : largest;
  map([&](int64_t i) { return exponential(load(input + i) - largest); }, output, count);
  const float scale = 1.0f / sum(output, count);
  map([&](int64_t i) { return load(output + i) * scale; }, output, count);
}

}  // namespace
}  // namespace paddle_unstructured::f32
