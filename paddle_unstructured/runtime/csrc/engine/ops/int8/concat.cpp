// SPDX-License-Identifier: Apache-2.0
// What only moves bytes: channels side by side, planes to a vector.

#include <cstring>

#include "operation.h"

namespace paddle_unstructured::int8 {
namespace {

class Concatenation : public Operation {
 public:
  Format accept(const Node& node, const std::vector<Format>& inputs) override {
    for (size_t i = 1; i < inputs.size(); ++i)
      if (!(inputs[i] == inputs[0])) node.refuse("joins bytes of different scales");
    if (node.has("scale") && !(read_quantization(node) == inputs[0].quantization))
      node.refuse("has a scale that its inputs have not");
    return inputs[0];
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override { return shape_of_concat(inputs); }

  void run(const Context& context) const override {
    int64_t first = 0;
    for (const Value& from : context.inputs) {
      copy_channels(from, context.output, first);
      first += from.shape.channels;
    }
  }

 private:
  // Whole groups where the channels come to lie in the same lanes, else byte by byte.
  static void copy_channels(const Value& from, const Value& to, int64_t first) {
    const int64_t channels = from.shape.channels, pitch = from.pitch();
    if (first % kGroup == 0) {
      std::memcpy(to.group(first / kGroup), from.bytes(),
                  static_cast<size_t>(from.shape.groups() * from.group_pitch()));
      return;
    }
    for (int64_t channel = 0; channel < channels; ++channel) {
      const uint8_t* const source = from.group(channel / kGroup) + channel % kGroup;
      uint8_t* const target = to.group((first + channel) / kGroup) + (first + channel) % kGroup;
      for (int64_t pixel = 0; pixel < pitch; ++pixel) target[pixel * kGroup] = source[pixel * kGroup];
    }
  }
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

std::unique_ptr<Operation> make_concat(const Node&) { return std::make_unique<Concatenation>(); }
std::unique_ptr<Operation> make_flatten(const Node&) { return std::make_unique<Flattening>(); }

}  // namespace paddle_unstructured::int8
