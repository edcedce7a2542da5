// SPDX-License-Identifier: Apache-2.0
// What masks and positions of a sequence are made of: running sums, and triangles of planes.

#include <algorithm>

#include "../../error.h"
#include "../shapes.h"

namespace paddle_unstructured::f32 {
namespace {

// The sum of a number and all before it, in the pixels of a channel.
class RunningSum : public Operation {
 public:
  void run(const Context& context) const override {
    const Value& input = context.inputs[0];
    context.share_range(input.shape.channels, plane_grain(input.shape), [&](int64_t first, int64_t last) {
      for (int64_t channel = first; channel < last; ++channel) {
        double total = 0;
        for (int64_t i = 0; i < input.shape.pixels(); ++i) {
          total += double{input.channel(channel)[i]};
          context.output.channel(channel)[i] = static_cast<float>(total);
        }
      }
    });
  }
};

// Of (groups, rows | columns), each group by itself: what lies on one side of a diagonal, which belongs to it; zeros
// beyond. Diagonal 1 begins one column to the right.
class Triangle : public Operation {
 public:
  explicit Triangle(const Node& node)
      : groups_(node.integer("groups", 1, kLargest)),
        diagonal_(node.integer("diagonal", -kLargest, kLargest)),
        upper_(node.integer("upper", 0, 1) == 1) {}

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    require(inputs[0].channels == kUnknown || inputs[0].channels % groups_ == 0, "a triangle in ", groups_,
            " groups of ", inputs[0].channels, " rows");
    return inputs[0];
  }

  void run(const Context& context) const override {
    const Value& input = context.inputs[0];
    const int64_t rows = input.shape.channels / groups_, columns = input.shape.pixels();
    context.share_range(input.shape.channels, plane_grain(input.shape), [&](int64_t first, int64_t last) {
      for (int64_t channel = first; channel < last; ++channel) {
        const float* const from = input.channel(channel);
        float* const to = context.output.channel(channel);
        const int64_t row = channel % rows;
        const int64_t begin = upper_ ? std::clamp<int64_t>(row + diagonal_, 0, columns) : 0;
        const int64_t end = upper_ ? columns : std::clamp<int64_t>(row + diagonal_ + 1, 0, columns);
        std::fill(to, to + columns, 0.0f);
        std::copy(from + begin, from + end, to + begin);
      }
    });
  }

 private:
  int32_t groups_, diagonal_;
  bool upper_;
};

}  // namespace

std::unique_ptr<Operation> make_running_sum(const Node&) { return std::make_unique<RunningSum>(); }
std::unique_ptr<Operation> make_triangle(const Node& node) { return std::make_unique<Triangle>(node); }

}  // namespace paddle_unstructured::f32
