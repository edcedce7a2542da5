// SPDX-License-Identifier: Apache-2.0
// What a reduction goes over, and what each output of an adaptive pool looks at. float32 and int8 share it.
#pragma once

#include "../operation.h"

namespace paddle_unstructured {

// The word `over`: some of channels, height and width.
struct Over {
  bool channels = false, height = false, width = false;

  Shape left(const Shape& input) const {
    return {channels ? 1 : input.channels, height ? 1 : input.height, width ? 1 : input.width};
  }
};

Over read_over(const Node& node);

// Words: `type=max,avg`, `size=h,w`. Output i of n looks at rows [floor(i h / n), ceil((i + 1) h / n)) of h, and at
// columns alike.
class Bins {
 public:
  struct Run {
    int64_t first, last;
  };

  explicit Bins(const Node& node);

  bool maximum() const { return maximum_; }
  Shape output_shape(const Shape& input) const { return {input.channels, height_, width_}; }
  Run rows(const Shape& input, int64_t i) const { return run(input.height, height_, i); }
  Run columns(const Shape& input, int64_t i) const { return run(input.width, width_, i); }

 private:
  static Run run(int64_t from, int64_t to, int64_t i) { return {i * from / to, ((i + 1) * from + to - 1) / to}; }

  bool maximum_;
  int64_t height_, width_;
};

}  // namespace paddle_unstructured
