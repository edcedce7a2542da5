// SPDX-License-Identifier: Apache-2.0
// The words of nodes that only move numbers: read from the plan and bound to sizes. float32 and int8 share them.
#pragma once

#include <vector>

#include "../operation.h"

namespace paddle_unstructured {

// Sizes of a sample in the order channels, height, width.
inline int64_t size_on(const Shape& shape, int axis) {
  return axis == 0 ? shape.channels : axis == 1 ? shape.height : shape.width;
}

// A sample taken apart into factors, which are put together again in another order. Words: `channels`, `height`,
// `width`: factors, outer to inner, at most one of each list -1 for what is left; none: one place. `to_channels`,
// `to_height`, `to_width`: numbers of factors, counted through the three lists.
class Permutation {
 public:
  explicit Permutation(const Node& node);

  struct Factor {
    int64_t extent;
    int from_axis, to_axis;          // 0 channels, 1 height, 2 width
    int64_t from_stride, to_stride;  // places of that axis between neighbours
  };

  Shape output_shape(const Shape& input) const;
  std::vector<Factor> bind(const Shape& input) const;  // in the order of the target

 private:
  std::vector<int64_t> extents(const Shape& input) const;  // kUnknown where the input's are

  std::vector<int64_t> extents_;
  std::vector<int> axes_;  // of each factor in the source
  std::vector<size_t> to_[3];
};

// The words `axis=channels,height,width,pixels`, `start`, `step`, and `count`, or `stop` where the extent is open:
// negative ones count from the end then.
class Slicing {
 public:
  explicit Slicing(const Node& node);

  enum Axis { kChannels, kHeight, kWidth, kPixels };
  struct Range {
    int64_t start, step, count;
  };

  Axis axis() const { return axis_; }
  Shape output_shape(const Shape& input) const;
  Range bind(const Shape& input) const;

 private:
  int64_t extent_of(const Shape& input) const;

  Axis axis_;
  int64_t start_, step_, count_, stop_;
};

// The word `axis` alone.
Slicing::Axis read_axis(const Node& node);

// Side by side along an axis; along pixels, planes become rows.
Shape shape_of_join(const std::vector<Shape>& inputs, Slicing::Axis axis);

}  // namespace paddle_unstructured
