// SPDX-License-Identifier: Apache-2.0
// Depthwise convolutions on int8.

#include <algorithm>

#include "../convolution.h"
#include "operation.h"

namespace paddle_unstructured::int8 {
namespace {

class DepthwiseConvolution : public Operation {
 public:
  explicit DepthwiseConvolution(const Node& node)
      : size_(node),
        output_(read_quantization(node)),
        finish_(byte_finish(node, output_)) {}

  Format accept(const Node&, const std::vector<Format>& inputs) override {
    input_ = inputs[0].quantization;
    return int8_format(output_);
  }

  void load(const Node& node, const LoadContext& context) override {
    const WindowSize& window = size_.window;
    const int32_t channels = size_.channels, width = window.kernel[1], taps = window.kernel[0] * width;
    const int32_t words = depthwise_words(width, window.dilation[1]);
    const int32_t together = window.dilation[1] == 1 ? 4 : 1;  // taps of a word
    const int8_t* const values = context.parameters.bytes(node, 0, int64_t{channels} * taps);
    const float* const scale = context.parameters.floats(node, 1, channels);
    const float* const bias = context.parameters.floats(node, 2, channels);
    WeightSums sums(channels);
    weight_.assign(static_cast<size_t>(round_up(channels, kGroup) * window.kernel[0] * words), 0);
    for (int32_t channel = 0; channel < channels; ++channel)
      for (int32_t tap = 0; tap < taps; ++tap) {
        const int8_t weight = values[int64_t{channel} * taps + tap];
        if (weight == -128) node.refuse("has a weight of -128");
        sums.add(static_cast<size_t>(channel), weight);
        const int32_t row = tap / width, column = tap % width;
        const int64_t word =
            ((int64_t{channel / kGroup} * window.kernel[0] + row) * words + column / together) * kGroup;
        weight_[static_cast<size_t>(word + channel % kGroup)] |=
            static_cast<int32_t>(uint32_t{static_cast<uint8_t>(weight)} << 8 * (column % together));
      }
    terms_ = output_terms(node, channels, scale, bias, sums, input_, &output_, finish_.swish != 0);
    add_shift(&terms_, sums, kernels_for(context.kernels.int8, terms_.fits).shift);
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override { return size_.output_shape(inputs[0]); }

  void run(const Context& context) const override {
    const Value &input = context.inputs[0], &output = context.output;
    Depthwise task{};
    task.input = planes_of(input);
    task.window = size_.window.bind(input.shape, output.shape);
    task.output = output.bytes();
    task.output_pitch = static_cast<ptrdiff_t>(output.group_pitch());
    task.weight = weight_.data();
    task.bias = terms_.bias.data();
    task.zero = static_cast<uint8_t>(input_.zero);
    const auto zero = static_cast<float>(output_.zero);
    task.finish = {terms_.scale.data(), finish_.swish != 0 ? 0 : zero, finish_.range.low, finish_.range.high};
    task.finish.swish = finish_.swish;
    task.finish.swish_zero = zero;
    context.share_task(task, output.shape.groups(), 1, kernels_for(context.kernels.int8, terms_.fits).depthwise);
  }

 private:
  DepthwiseSize size_;
  Quantization input_, output_;
  ByteFinish finish_;
  std::vector<int32_t> weight_;
  OutputTerms terms_;
};

}  // namespace

std::unique_ptr<Operation> make_depthwise(const Node& node) { return std::make_unique<DepthwiseConvolution>(node); }

}  // namespace paddle_unstructured::int8
