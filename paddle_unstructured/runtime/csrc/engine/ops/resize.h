// SPDX-License-Identifier: Apache-2.0
// Where the rows and columns of resized or padded planes come from. float32 and int8 share it.
#pragma once

#include <vector>

#include "../operation.h"
#include "../strided.h"

namespace paddle_unstructured {

// The rows or columns of a resized plane: weights[tap][i] of source place places[tap][i]. One tap: no weights.
struct Taps {
  int32_t taps = 1;
  std::vector<int32_t> places;
  std::vector<float> weights;
};

// Words: `mode=nearest,linear,cubic`, `align_corners`, `half_pixel`, and one of `size=h,w`, `scale=h,w` or a second
// input, whose height and width it takes. Where bytes are made of bytes, `by` stands for `scale`.
class Resizing {
 public:
  explicit Resizing(const Node& node);

  bool is_nearest() const { return taps_ == 1; }
  bool is_linear() const { return taps_ == 2; }
  Shape output_shape(const std::vector<Shape>& inputs) const;
  Taps rows(const Shape& input, const Shape& output) const { return taps(input.height, output.height, 0); }
  Taps columns(const Shape& input, const Shape& output) const { return taps(input.width, output.width, 1); }

 private:
  Taps taps(int64_t from, int64_t to, size_t axis) const;
  int64_t output_size(int64_t size, size_t axis) const;

  int32_t taps_;
  bool align_corners_, half_pixel_;
  std::vector<int32_t> size_;
  std::vector<float> scale_;
};

// Words: `before=c,h,w`, `after=c,h,w`, `mode=constant,reflect,replicate,circular`, `value`. Negative ones cut off.
class Padding {
 public:
  explicit Padding(const Node& node);

  bool pads_channels() const { return before_[0] != 0 || after_[0] != 0; }
  int32_t channels_before() const { return before_[0]; }
  float value() const { return value_; }
  bool is_constant() const { return mode_ == kConstant; }
  Shape output_shape(const Shape& input) const;
  // Of the planes, with `fill` as it stands in memory.
  Remap bind(const Shape& input, const Shape& output, uint32_t fill) const;

 private:
  enum Mode { kConstant, kReflect, kReplicate, kCircular };
  std::vector<int32_t> places(int64_t size, size_t axis) const;

  Mode mode_;
  std::vector<int32_t> before_, after_;
  float value_;
};

}  // namespace paddle_unstructured
