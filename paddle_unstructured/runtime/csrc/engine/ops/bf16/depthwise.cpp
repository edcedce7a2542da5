// SPDX-License-Identifier: Apache-2.0
// Depthwise convolutions on bfloat16: one small filter for each channel, a pair of channels at a time.

#include <algorithm>
#include <cmath>

#include "../convolution.h"
#include "number.h"

namespace paddle_unstructured::bf16 {
namespace {

class DepthwiseConvolution : public Operation {
 public:
  explicit DepthwiseConvolution(const Node& node) : size_(node), activation_(node.activation()) {
    const WindowSize& w = size_.window;
    const bool is_square = w.kernel[0] == w.kernel[1] && w.stride[0] == w.stride[1] && w.dilation[0] == w.dilation[1];
    if (!is_square || (w.kernel[0] != 3 && w.kernel[0] != 5) || w.dilation[0] != 1)
      node.refuse("has a depthwise window that no bfloat16 kernel covers");
    if (!activation_.is_clamp()) node.refuse("has an activation that bfloat16 results cannot have");
  }

  Format accept(const Node&, const std::vector<Format>&) override { return {Type::kBfloat16, {}}; }

  void load(const Node& node, const LoadContext& context) override {
    const int64_t channels = size_.channels, taps = size_.window.kernel[0] * size_.window.kernel[1];
    const uint16_t* const weight = context.parameters.halves(node, 0, channels * taps);
    const float* const bias = context.parameters.floats(node, 1, channels);
    weight_ = AlignedArray<float>(round_up(channels, 2) * taps);
    bias_ = AlignedArray<float>(round_up(channels, 2));
    std::transform(weight, weight + channels * taps, weight_.data(), [&](uint16_t bits) {
      const float number = flushed(widened(bits));
      if (!std::isfinite(number)) node.refuse("has a weight that is not finite");
      return number;
    });
    std::transform(bias, bias + channels, bias_.data(), flushed);
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override { return size_.output_shape(inputs[0]); }

  void run(const Context& context) const override {
    const Value &input = context.inputs[0], &output = context.output;
    Depthwise task{};
    task.input = static_cast<const float*>(input.data);
    task.input_pitch = static_cast<ptrdiff_t>(input.pitch());
    task.window = size_.window.bind(input.shape, output.shape);
    task.last_row = static_cast<int32_t>(output.shape.height);
    task.output = static_cast<float*>(output.data);
    task.output_pitch = static_cast<ptrdiff_t>(output.pitch());
    task.weight = weight_.data();
    task.bias = bias_.data();
    task.low = flushed(activation_.a);
    task.high = flushed(activation_.b);
    context.share_task(task, output.shape.pairs(), 1, context.kernels.bf16.depthwise);
  }

 private:
  DepthwiseSize size_;
  Activation activation_;
  AlignedArray<float> weight_, bias_;
};

}  // namespace

std::unique_ptr<Operation> make_depthwise(const Node& node) { return std::make_unique<DepthwiseConvolution>(node); }

}  // namespace paddle_unstructured::bf16
