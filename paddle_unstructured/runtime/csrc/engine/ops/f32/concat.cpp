// SPDX-License-Identifier: Apache-2.0
// What only moves numbers: values side by side, planes to a vector.

#include <algorithm>

#include "../../strided.h"
#include "../move.h"

namespace paddle_unstructured::f32 {
namespace {

class Concatenation : public Operation {
 public:
  explicit Concatenation(const Node& node) : axis_(node.has("axis") ? read_axis(node) : Slicing::kChannels) {}

  Shape output_shape(const std::vector<Shape>& inputs) const override { return shape_of_join(inputs, axis_); }

  void run(const Context& context) const override {
    float* to = context.output.floats();
    const int64_t pitch = context.output.pitch(), width = context.output.shape.width;
    for (const Value& input : context.inputs) {
      const Shape& shape = input.shape;
      if (axis_ == Slicing::kChannels) {
        const int64_t count = shape.channels * input.pitch();
        to = std::copy(input.floats(), input.floats() + count, to);
      } else if (axis_ == Slicing::kWidth) {
        const std::vector<Stride> axes{
            {shape.channels, input.pitch(), pitch}, {shape.height, shape.width, width}, {shape.width, 1, 1}};
        copy_strided(context, axes, input.data, to);
        to += shape.width;
      } else {
        copy_strided(context, {{shape.channels, input.pitch(), pitch}, {shape.pixels(), 1, 1}}, input.data, to);
        to += shape.pixels();
      }
    }
  }

 private:
  Slicing::Axis axis_;
};

// [channels, height, width] to a plain vector, without the padding of the planes.
class Flattening : public Operation {
 public:
  Shape output_shape(const std::vector<Shape>& inputs) const override { return {inputs[0].values(), 1, 1}; }

  void run(const Context& context) const override {
    const Value& input = context.inputs[0];
    float* to = context.output.floats();
    for (int64_t channel = 0; channel < input.shape.channels; ++channel)
      to = std::copy(input.channel(channel), input.channel(channel) + input.shape.pixels(), to);
  }
};

}  // namespace

std::unique_ptr<Operation> make_concat(const Node& node) { return std::make_unique<Concatenation>(node); }
std::unique_ptr<Operation> make_flatten(const Node&) { return std::make_unique<Flattening>(); }

}  // namespace paddle_unstructured::f32
