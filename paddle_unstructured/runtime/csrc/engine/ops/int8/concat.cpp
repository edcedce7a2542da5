// SPDX-License-Identifier: Apache-2.0
// What only moves bytes: values side by side, planes to a vector.

#include "../../strided.h"
#include "../move.h"
#include "lanes.h"

namespace paddle_unstructured::int8 {
namespace {

class Concatenation : public Operation {
 public:
  explicit Concatenation(const Node& node) : axis_(node.has("axis") ? read_axis(node) : Slicing::kChannels) {}

  Format accept(const Node& node, const std::vector<Format>& inputs) override {
    for (size_t i = 1; i < inputs.size(); ++i)
      if (!(inputs[i] == inputs[0])) node.refuse("joins bytes of different scales");
    if (node.has("scale") && !(read_quantization(node) == inputs[0].quantization))
      node.refuse("has a scale that its inputs have not");
    return inputs[0];
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override { return shape_of_join(inputs, axis_); }

  void run(const Context& context) const override {
    if (axis_ == Slicing::kChannels) return join_channels(context);
    const Value& to = context.output;
    int64_t at = 0;
    for (const Value& from : context.inputs) {
      const Shape& shape = from.shape;
      const bool wide = axis_ == Slicing::kWidth;  // else whole planes follow each other
      const std::vector<Stride> axes{{shape.groups(), from.pitch(), to.pitch()},
                                     {shape.height, shape.width, wide ? to.shape.width : shape.width},
                                     {shape.width, 1, 1}};
      copy_strided(context, axes, from.data, to.bytes() + at * kGroup);
      at += wide ? shape.width : shape.pixels();
    }
  }

 private:
  static void join_channels(const Context& context) {
    std::vector<Channel> channels;
    for (const Value& from : context.inputs)
      for (int64_t channel = 0; channel < from.shape.channels; ++channel) channels.push_back({&from, channel});
    gather_channels(context, [&](int64_t c) { return channels[static_cast<size_t>(c)]; });
  }

  Slicing::Axis axis_;
};

// [channels, height, width] to a plain vector in that order.
class Flattening : public Operation {
 public:
  Format accept(const Node&, const std::vector<Format>& inputs) override { return inputs[0]; }

  Shape output_shape(const std::vector<Shape>& inputs) const override { return {inputs[0].values(), 1, 1}; }

  void run(const Context& context) const override {
    const Value& from = context.inputs[0];
    uint8_t* to = context.output.bytes();
    const int64_t pixels = from.shape.pixels();
    for (int64_t channel = 0; channel < from.shape.channels; ++channel) {
      const uint8_t* const source = from.group(channel / kGroup) + channel % kGroup;
      for (int64_t pixel = 0; pixel < pixels; ++pixel) *to++ = source[pixel * kGroup];
    }
  }
};

}  // namespace

std::unique_ptr<Operation> make_concat(const Node& node) { return std::make_unique<Concatenation>(node); }
std::unique_ptr<Operation> make_flatten(const Node&) { return std::make_unique<Flattening>(); }

}  // namespace paddle_unstructured::int8
