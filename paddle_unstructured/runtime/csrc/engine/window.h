// SPDX-License-Identifier: Apache-2.0
// The sliding window of convolutions and pooling: read from the plan, checked, and bound to an input at run time.
#pragma once

#include "error.h"
#include "plan.h"
#include "shape.h"

namespace paddle_unstructured {

struct WindowSize {
  int32_t kernel[2], stride[2], pad[4], dilation[2];  // rows first; pad: top, bottom, left, right
  bool ceil;
  bool same;  // instead of `pad`: as much as makes ceil(size / stride) outputs, the odd one behind

  explicit WindowSize(const Node& node);

  bool is_single_pixel() const { return kernel[0] == 1 && kernel[1] == 1; }
  int64_t output_height(int64_t height) const { return output_size(height, 0); }
  int64_t output_width(int64_t width) const { return output_size(width, 1); }
  Window bind(const Shape& input, const Shape& output) const;
  bool is_padded() const { return same || pad[0] != 0 || pad[1] != 0 || pad[2] != 0 || pad[3] != 0; }
  // The input pixel under a tap of the output's first pixel; -1 beyond the edge.
  int64_t pixel_under(int32_t ky, int32_t kx, const Shape& input) const;

 private:
  int64_t output_size(int64_t size, int axis) const;
  int32_t padding_before(int64_t size, int axis) const;
};

// Of a pooling, with its words `type` and `exclusive`.
struct PoolingWindow : WindowSize {
  bool maximum, exclusive;  // exclusive: the mean counts pixels of the plane alone

  explicit PoolingWindow(const Node& node);

  Shape output_shape(const Shape& input) const {
    return {input.channels, output_height(input.height), output_width(input.width)};
  }
};

}  // namespace paddle_unstructured
