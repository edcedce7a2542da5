// SPDX-License-Identifier: Apache-2.0
// What only moves numbers: channels side by side, planes to a vector.

#include <algorithm>

#include "../shapes.h"

namespace paddle_unstructured::f32 {
namespace {

class Concatenation : public Operation {
 public:
  Shape output_shape(const std::vector<Shape>& inputs) const override { return shape_of_concat(inputs); }

  void run(const Context& context) const override {
    float* to = context.output.floats();
    for (const Value& input : context.inputs) {
      const int64_t count = input.shape.channels * input.pitch();
      to = std::copy(input.floats(), input.floats() + count, to);
    }
  }
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

std::unique_ptr<Operation> make_concat(const Node&) { return std::make_unique<Concatenation>(); }
std::unique_ptr<Operation> make_flatten(const Node&) { return std::make_unique<Flattening>(); }

}  // namespace paddle_unstructured::f32
