// SPDX-License-Identifier: Apache-2.0
// A convolution that moves along the channels: at position p it sees channels [p * step, p * step + in), and makes
// channels [p * out, (p + 1) * out). So volumes, whose slices lie one behind the other, and several frames of a sample
// share one set of weights, however many they are.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "../error.h"
#include "../operation.h"

namespace paddle_unstructured {

class Sliding : public Operation {
 public:
  Sliding(const Node& node, std::unique_ptr<Operation> one)
      : one_(std::move(one)),
        in_(node.integer("in", 1, kLargest)),
        out_(node.integer("out", 1, kLargest)),
        step_(node.integer("step", 1, kLargest)) {}

  Format accept(const Node& node, const std::vector<Format>& inputs) override {
    const Format made = one_->accept(node, inputs);
    if ((inputs[0].is_int8() || made.is_int8()) && (in_ % kGroup != 0 || out_ % kGroup != 0 || step_ % kGroup != 0))
      node.refuse("moves along int8 channels by less than a group of them");
    return made;
  }

  void load(const Node& node, const LoadContext& context) override { one_->load(node, context); }

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    const int64_t channels = inputs[0].channels;
    Shape made = one_->output_shape(parts(inputs));
    made.channels = kUnknown;
    if (channels != kUnknown) {
      require(channels >= in_ && (channels - in_) % step_ == 0, "a layer that moves by ", step_, " channels and sees ",
              in_, " got ", channels, "; give an input of the size that the model was made for");
      made.channels = positions(channels) * out_;
    }
    require(inputs.size() < 2 || may_equal(inputs[1].channels, made.channels), "what is added is of another size");
    return made;
  }

  int64_t scratch_bytes(const std::vector<Shape>& inputs) const override { return one_->scratch_bytes(parts(inputs)); }

  void run(const Context& context) const override {
    for (int64_t at = 0; at < positions(context.inputs[0].shape.channels); ++at) {
      Context part = context;
      part.inputs[0] = slice(context.inputs[0], at * step_, in_);
      if (part.inputs.size() > 1) part.inputs[1] = slice(context.inputs[1], at * out_, out_);
      part.output = slice(context.output, at * out_, out_);
      one_->run(part);
    }
  }

 private:
  int64_t positions(int64_t channels) const { return (channels - in_) / step_ + 1; }

  std::vector<Shape> parts(std::vector<Shape> inputs) const {
    inputs[0].channels = in_;
    if (inputs.size() > 1) inputs[1].channels = out_;
    return inputs;
  }

  static Value slice(Value value, int64_t first, int64_t count) {
    value.data = value.type == Type::kInt8 ? static_cast<void*>(value.group(first / kGroup))
                                           : static_cast<void*>(value.channel(first));
    value.shape.channels = count;
    return value;
  }

  std::unique_ptr<Operation> one_;
  int64_t in_, out_, step_;
};

// The convolution that a line says, which moves along the channels if it has the word `step`.
template <typename Convolution>
std::unique_ptr<Operation> convolution_of(const Node& node) {
  auto one = std::make_unique<Convolution>(node);
  if (!node.has("step")) return one;
  return std::make_unique<Sliding>(node, std::move(one));
}

}  // namespace paddle_unstructured
