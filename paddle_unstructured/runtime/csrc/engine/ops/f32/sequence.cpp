// SPDX-License-Identifier: Apache-2.0
// What masks and positions of a sequence are made of: running sums, triangles of planes, numbers by distance.

#include <algorithm>

#include "../../error.h"
#include "../../memory.h"
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

// From (groups, rows | columns), of which only the sizes count, to (out, rows | columns): a number of each table by how
// far the column is from the row. Beyond the ends of a table its last numbers go on, if it says so.
class Lags : public Operation {
 public:
  explicit Lags(const Node& node)
      : groups_(node.integer("groups", 1, kLargest)),
        tables_(node.integer("out", 1, kLargest)),
        reach_(node.integer("reach", 1, kLargest)),
        goes_on_(node.integer("ends", 0, 1) == 1) {}

  void load(const Node& node, const LoadContext& context) override {
    const int64_t numbers = int64_t{tables_} * width();
    values_ = AlignedArray<float>(numbers);
    const float* const from = context.parameters.floats(node, 0, numbers);
    std::copy(from, from + numbers, values_.data());
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    const Shape& input = inputs[0];
    if (input.channels == kUnknown) return {kUnknown, input.height, input.width};
    require(input.channels % groups_ == 0, "distances in ", groups_, " groups of ", input.channels, " rows");
    const int64_t rows = input.channels / groups_;
    if (input.known() && !goes_on_)
      require(std::max(rows, input.pixels()) <= reach_ + 1, "a sequence of ", std::max(rows, input.pixels()),
              " is too long for the positions of this model; give a shorter one");
    return {rows * tables_, input.height, input.width};
  }

  void run(const Context& context) const override {
    const Value& to = context.output;
    const int64_t rows = context.inputs[0].shape.channels / groups_, columns = to.shape.pixels();
    context.share_range(to.shape.channels, plane_grain(to.shape), [&](int64_t first, int64_t last) {
      for (int64_t channel = first; channel < last; ++channel) {
        const float* const table = values_.data() + channel / rows * width();
        float* const plane = to.channel(channel);
        const int64_t start = reach_ - channel % rows;  // of column 0 in the table
        for (int64_t column = 0; column < columns; ++column)
          plane[column] = table[std::clamp<int64_t>(start + column, 0, width() - 1)];
      }
    });
  }

 private:
  int64_t width() const { return 2 * int64_t{reach_} + 1; }

  int32_t groups_, tables_, reach_;
  bool goes_on_;
  AlignedArray<float> values_;
};

}  // namespace

std::unique_ptr<Operation> make_lags(const Node& node) { return std::make_unique<Lags>(node); }
std::unique_ptr<Operation> make_running_sum(const Node&) { return std::make_unique<RunningSum>(); }
std::unique_ptr<Operation> make_triangle(const Node& node) { return std::make_unique<Triangle>(node); }

}  // namespace paddle_unstructured::f32
