// Depthwise convolutions on bytes.

#include <algorithm>

#include "error.h"
#include "operation8.h"
#include "window.h"

namespace paddle_unstructured {
namespace {

class DepthwiseConvolution8 : public Operation {
 public:
  explicit DepthwiseConvolution8(const Node& node)
      : window_(node), channels_(node.integer("out", 1, kLargest)), output_(read_quantization(node)),
        range_(byte_range(node, output_)) {
    const int32_t kernel = window_.kernel[0], stride = window_.stride[0];
    if (kernel != window_.kernel[1] || (kernel != 3 && kernel != 5) || stride != window_.stride[1] || stride > 2 ||
        window_.dilation[0] != 1 || window_.dilation[1] != 1)
      node.refuse("has a depthwise window that no kernel covers");
  }

  Quantization accept(const Node& node, const std::vector<Quantization>& inputs) override {
    require_bytes(node, inputs);
    input_ = inputs[0];
    return output_;
  }

  void load(const Node& node, const LoadContext& context) override {
    const int32_t kernel = window_.kernel[0], taps = kernel * kernel, words = (kernel + 3) / 4;
    const int8_t* const values = context.parameters.bytes(node, 0, int64_t{channels_} * taps);
    const float* const scale = context.parameters.floats(node, 1, channels_);
    const float* const bias = context.parameters.floats(node, 2, channels_);
    WeightSums sums(channels_);
    weight_.assign(static_cast<size_t>(groups_of(channels_) * kernel * words * kGroup), 0);
    for (int32_t channel = 0; channel < channels_; ++channel)
      for (int32_t tap = 0; tap < taps; ++tap) {
        const int8_t weight = values[int64_t{channel} * taps + tap];
        if (weight == -128) node.refuse("has a weight of -128");
        sums.add(static_cast<size_t>(channel), weight);
        const int32_t row = tap / kernel, column = tap % kernel;
        const int64_t word = ((int64_t{channel / kGroup} * kernel + row) * words + column / 4) * kGroup;
        weight_[static_cast<size_t>(word + channel % kGroup)] |=
            static_cast<int32_t>(uint32_t{static_cast<uint8_t>(weight)} << 8 * (column % 4));
      }
    terms_ = output_terms(node, channels_, scale, bias, sums, input_, &output_);
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    const Shape& input = inputs[0];
    require(may_equal(input.channels, channels_), "a depthwise layer with ", channels_, " channels got ",
            input.channels, "; give an input of the size that the model was made for");
    return {channels_, window_.output_height(input.height), window_.output_width(input.width)};
  }

  void run(const Context& context) const override {
    Depthwise8 task{};
    task.window = window_.bind(context.inputs[0], context.output.shape);
    task.output = bytes_of(context.output);
    task.output_pitch = static_cast<ptrdiff_t>(context.output.pitch() * kGroup);
    task.weight = weight_.data();
    task.bias = terms_.bias.data();
    task.zero = static_cast<uint8_t>(input_.zero);
    task.finish = {terms_.scale.data(), static_cast<float>(output_.zero), range_.low, range_.high};
    context.share_range(groups_of(channels_), 1, [&](int64_t first, int64_t last) {
      Depthwise8 part = task;
      part.first = static_cast<int32_t>(first);
      part.last = static_cast<int32_t>(last);
      kernels_for(context.kernels8, terms_.fits).depthwise(part);
    });
  }

 private:
  WindowSize window_;
  int32_t channels_;
  Quantization input_, output_;
  ByteRange range_;
  std::vector<int32_t> weight_;
  OutputTerms terms_;
};

}  // namespace

std::unique_ptr<Operation> make_depthwise8(const Node& node) { return std::make_unique<DepthwiseConvolution8>(node); }

}  // namespace paddle_unstructured
