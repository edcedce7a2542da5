// SPDX-License-Identifier: Apache-2.0
// Depthwise convolutions: one small filter for each channel.

#include <algorithm>
#include <cmath>

#include "convolution.h"

namespace paddle_unstructured::f32 {
namespace {

AlignedArray<float> copy(const float* values, int64_t count) {
  AlignedArray<float> result(count);
  std::copy(values, values + count, result.data());
  return result;
}

}  // namespace

void DepthwiseConvolution::load(const Node& node, const LoadContext& context) {
  const int64_t channels = size_.channels, count = channels * size_.window.kernel[0] * size_.window.kernel[1];
  weight_ = copy(context.parameters.floats(node, 0, count), count);
  bias_ = copy(context.parameters.floats(node, 1, channels), channels);
}

void DepthwiseConvolution::run(const Context& context) const {
  const Value& output = context.output;
  context.share_range(size_.channels, 1, [&](int64_t first, int64_t last) {
    run_part(context.kernels.f32, context.inputs[0], output.shape,
             {first, last, 0, output.shape.height, output.floats(), output.pitch()});
  });
}

void DepthwiseConvolution::run_part(const KernelTable& kernels, const Value& input, const Shape& whole,
                                    const Part& part) const {
  Depthwise task{};
  task.input = input.floats();
  task.input_pitch = static_cast<ptrdiff_t>(input.pitch());
  task.window = size_.window.bind(input.shape, whole);
  task.first_row = static_cast<int32_t>(part.first_row);
  task.last_row = static_cast<int32_t>(part.last_row);
  task.output = part.output;
  task.output_pitch = static_cast<ptrdiff_t>(part.pitch);
  task.weight = weight_.data();
  task.bias = bias_.data();
  task.first = static_cast<int32_t>(part.first);
  task.last = static_cast<int32_t>(part.last);
  task.low = activation_.is_clamp() ? activation_.a : -INFINITY;
  task.high = activation_.is_clamp() ? activation_.b : INFINITY;
  kernels.depthwise(task);
  float* const values = part.output + part.first * part.pitch;
  if (!activation_.is_clamp()) kernels.activate(activation_, values, values, (part.last - part.first) * part.pitch);
}

std::unique_ptr<Operation> make_depthwise(const Node& node) { return std::make_unique<DepthwiseConvolution>(node); }

}  // namespace paddle_unstructured::f32
