// SPDX-License-Identifier: Apache-2.0
// What only moves numbers: transpositions, slices, repetitions; constants, which come from nowhere.

#include "../move.h"

#include <algorithm>

#include "../../memory.h"
#include "../../strided.h"

namespace paddle_unstructured::f32 {
namespace {

// Words between neighbouring channels, rows and columns.
int64_t stride_on(const Value& value, int axis) {
  return axis == 0 ? value.pitch() : axis == 1 ? value.shape.width : 1;
}

class Permuting : public Operation {
 public:
  explicit Permuting(const Node& node) : order_(node) {}

  Shape output_shape(const std::vector<Shape>& inputs) const override { return order_.output_shape(inputs[0]); }

  void run(const Context& context) const override {
    const Value &from = context.inputs[0], &to = context.output;
    std::vector<Stride> axes;
    for (const Permutation::Factor& factor : order_.bind(from.shape))
      axes.push_back({factor.extent, factor.from_stride * stride_on(from, factor.from_axis),
                      factor.to_stride * stride_on(to, factor.to_axis)});
    copy_strided(context, axes, from.data, to.data);
  }

 private:
  Permutation order_;
};

class Slice : public Operation {
 public:
  explicit Slice(const Node& node) : slicing_(node) {}

  Shape output_shape(const std::vector<Shape>& inputs) const override { return slicing_.output_shape(inputs[0]); }

  void run(const Context& context) const override {
    const Value &from = context.inputs[0], &to = context.output;
    const Slicing::Range range = slicing_.bind(from.shape);
    const int axis = slicing_.axis() == Slicing::kPixels ? Slicing::kWidth : slicing_.axis();
    const int64_t sizes[3] = {to.shape.channels, to.shape.height, to.shape.width};
    std::vector<Stride> axes;
    for (int i = 0; i < 3; ++i)
      axes.push_back({sizes[i], stride_on(from, i) * (i == axis ? range.step : 1), stride_on(to, i)});
    copy_strided(context, axes, from.floats() + range.start * stride_on(from, axis), to.data);
  }

 private:
  Slicing slicing_;
};

// All channels as often as the word `times` says, one copy after the other.
class Repetition : public Operation {
 public:
  explicit Repetition(const Node& node) : times_(node.integer("times", 1, kLargest)) {}

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    const Shape& input = inputs[0];
    return {input.channels == kUnknown ? kUnknown : input.channels * times_, input.height, input.width};
  }

  void run(const Context& context) const override {
    const Value& from = context.inputs[0];
    const int64_t words = from.shape.channels * from.pitch();
    copy_strided(context, {{times_, 0, words}, {words, 1, 1}}, from.data, context.output.data);
  }

 private:
  int64_t times_;
};

// The same numbers for every sample. It reads a value only because every node does.
class Constant : public Operation {
 public:
  explicit Constant(const Node& node)
      : shape_{node.integer("channels", 1, kLargest), node.integer("height", 1, kLargest),
               node.integer("width", 1, kLargest)} {
    if (shape_.channels * shape_.height > kLargest || shape_.channels * shape_.pixels() > kLargest)
      node.refuse("is too large");
  }

  bool reads_pixels_only() const override { return true; }

  Shape output_shape(const std::vector<Shape>&) const override { return shape_; }

  void load(const Node& node, const LoadContext& context) override {
    const float* const given = context.parameters.floats(node, 0, shape_.values());
    numbers_ = AlignedArray<float>(shape_.values());
    std::copy(given, given + shape_.values(), numbers_.data());
  }

  void run(const Context& context) const override {
    for (int64_t channel = 0; channel < shape_.channels; ++channel) {
      const float* const plane = numbers_.data() + channel * shape_.pixels();
      std::copy(plane, plane + shape_.pixels(), context.output.channel(channel));
    }
  }

 private:
  Shape shape_;
  AlignedArray<float> numbers_;
};

}  // namespace

std::unique_ptr<Operation> make_permute(const Node& node) { return std::make_unique<Permuting>(node); }
std::unique_ptr<Operation> make_slice(const Node& node) { return std::make_unique<Slice>(node); }
std::unique_ptr<Operation> make_repeat(const Node& node) { return std::make_unique<Repetition>(node); }
std::unique_ptr<Operation> make_constant(const Node& node) { return std::make_unique<Constant>(node); }

}  // namespace paddle_unstructured::f32
