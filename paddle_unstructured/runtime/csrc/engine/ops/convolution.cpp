// SPDX-License-Identifier: Apache-2.0
#include "convolution.h"

#include "../error.h"

namespace paddle_unstructured {

ConvolutionSize::ConvolutionSize(const Node& node)
    : outputs(node.integer("out", 1, kLargest)),
      channels(node.integer("in", 1, kLargest)),
      window(node),
      linear(node.has("linear")) {}

Shape ConvolutionSize::output_shape(const Shape& input) const {
  require(may_equal(input.channels, channels), "a layer with ", channels, " input channels got ", input.channels,
          "; give an input of the size that the model was made for");
  return {outputs, window.output_height(input.height), window.output_width(input.width)};
}

DepthwiseSize::DepthwiseSize(const Node& node) : channels(node.integer("out", 1, kLargest)), window(node) {
  const int32_t kernel = window.kernel[0], stride = window.stride[0];
  if (kernel != window.kernel[1] || (kernel != 3 && kernel != 5) || stride != window.stride[1] || stride > 2 ||
      window.dilation[0] != 1 || window.dilation[1] != 1)
    node.refuse("has a depthwise window that no kernel covers");
}

Shape DepthwiseSize::output_shape(const Shape& input) const {
  require(may_equal(input.channels, channels), "a depthwise layer with ", channels, " channels got ", input.channels,
          "; give an input of the size that the model was made for");
  return {channels, window.output_height(input.height), window.output_width(input.width)};
}

}  // namespace paddle_unstructured
