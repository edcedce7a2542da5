// Depthwise convolutions: one small filter for each channel.

#include <algorithm>
#include <cmath>

#include "convolution.h"
#include "error.h"

namespace paddle_unstructured {
namespace {

AlignedFloats copy(const float* values, int64_t count) {
  AlignedFloats result(count);
  std::copy(values, values + count, result.data());
  return result;
}

}  // namespace

DepthwiseConvolution::DepthwiseConvolution(const Node& node)
    : window_(node), activation_(node.activation()), channels_(node.integer("out", 1, kLargest)) {
  const int32_t kernel = window_.kernel[0], stride = window_.stride[0];
  if (kernel != window_.kernel[1] || (kernel != 3 && kernel != 5) || stride != window_.stride[1] || stride > 2 ||
      window_.dilation[0] != 1 || window_.dilation[1] != 1)
    node.refuse("has a depthwise window that no kernel covers");
}

void DepthwiseConvolution::load(const Node& node, const LoadContext& context) {
  const int64_t count = int64_t{channels_} * window_.kernel[0] * window_.kernel[1];
  weight_ = copy(context.parameters.floats(node, 0, count), count);
  bias_ = copy(context.parameters.floats(node, 1, channels_), channels_);
}

Shape DepthwiseConvolution::output_shape(const std::vector<Shape>& inputs) const {
  const Shape& input = inputs[0];
  require(may_equal(input.channels, channels_), "a depthwise layer with ", channels_, " channels got ", input.channels,
          "; give an input of the size that the model was made for");
  return {channels_, window_.output_height(input.height), window_.output_width(input.width)};
}

void DepthwiseConvolution::run(const Context& context) const {
  const Activations& output = context.output;
  context.share_range(channels_, 1, [&](int64_t first, int64_t last) {
    run_part(context.kernels, context.inputs[0], output.shape,
             {first, last, 0, output.shape.height, output.data, output.pitch()});
  });
}

void DepthwiseConvolution::run_part(const KernelTable& kernels, const Activations& input, const Shape& whole,
                                    const Part& part) const {
  Depthwise task{};
  task.window = window_.bind(input, whole);
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

}  // namespace paddle_unstructured
