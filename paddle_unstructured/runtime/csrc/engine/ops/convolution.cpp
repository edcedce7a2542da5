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
  if (window.stride[1] > 2) node.refuse("has a depthwise window that no kernel covers");
}

Shape DepthwiseSize::output_shape(const Shape& input) const {
  require(may_equal(input.channels, channels), "a depthwise layer with ", channels, " channels got ", input.channels,
          "; give an input of the size that the model was made for");
  return {channels, window.output_height(input.height), window.output_width(input.width)};
}

}  // namespace paddle_unstructured
