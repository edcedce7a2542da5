// SPDX-License-Identifier: Apache-2.0
// Sums, products, activations, scales: number by number.

#include <algorithm>

#include "../../error.h"
#include "../../memory.h"
#include "../shapes.h"

namespace paddle_unstructured::f32 {
namespace {

void finish(const KernelTable& kernels, const Activation& activation, float* values, int64_t count) {
  if (!activation.is_none()) kernels.activate(activation, values, values, count);
}

class Addition : public Operation {
 public:
  explicit Addition(const Node& node) : activation_(node.activation()) {}

  Shape output_shape(const std::vector<Shape>& inputs) const override { return shape_of_sum(inputs); }

  void run(const Context& context) const override {
    const float *a = context.inputs[0].floats(), *b = context.inputs[1].floats();
    float* const output = context.output.floats();
    const Shape& shape = context.output.shape;
    context.share_range(
        shape.channels * shape.pitch() / kPlaneAlign + 1, kGrain / kPlaneAlign, [&](int64_t first, int64_t last) {
          const int64_t end = std::min(last * kPlaneAlign, shape.channels * shape.pitch());
          const int64_t at = first * kPlaneAlign;
          for (int64_t i = at; i < end; i += kGrain / 4) {  // both passes while the values are in the cache
            const int64_t count = std::min(kGrain / 4, end - i);
            context.kernels.f32.add(a + i, b + i, output + i, count);
            finish(context.kernels.f32, activation_, output + i, count);
          }
        });
  }

 private:
  Activation activation_;
};

// A plane times a plane, or a plane times one number for each channel (squeeze-and-excite).
class Multiplication : public Operation {
 public:
  explicit Multiplication(const Node& node) : activation_(node.activation()) {}

  Shape output_shape(const std::vector<Shape>& inputs) const override { return shape_of_product(inputs); }

  void run(const Context& context) const override {
    const bool swap = context.inputs[0].shape != context.output.shape;
    const Value &plane = context.inputs[swap ? 1 : 0], &factor = context.inputs[swap ? 0 : 1];
    const bool scalar = factor.shape != plane.shape;
    const Shape& shape = plane.shape;
    context.share_range(shape.channels, plane_grain(shape), [&](int64_t first, int64_t last) {
      for (int64_t channel = first; channel < last; ++channel) {
        float* const to = context.output.channel(channel);
        if (scalar) {
          context.kernels.f32.scale_shift(plane.channel(channel), factor.floats()[channel], 0.0f, to, shape.pitch());
        } else {
          context.kernels.f32.multiply(plane.channel(channel), factor.channel(channel), to, shape.pitch());
        }
        finish(context.kernels.f32, activation_, to, shape.pitch());
      }
    });
  }

 private:
  Activation activation_;
};

class Activating : public Operation {
 public:
  explicit Activating(const Node& node) : activation_(node.activation()) {}

  void run(const Context& context) const override {
    const Value& input = context.inputs[0];
    context.share_range(input.shape.channels, plane_grain(input.shape), [&](int64_t first, int64_t last) {
      context.kernels.f32.activate(activation_, input.channel(first), context.output.channel(first),
                                   (last - first) * input.pitch());
    });
  }

 private:
  Activation activation_;
};

// x * scale + shift for each channel: a batch norm that follows no convolution.
class Affine : public Operation {
 public:
  explicit Affine(const Node& node) : activation_(node.activation()), channels_(node.integer("out", 1, kLargest)) {}

  void load(const Node& node, const LoadContext& context) override {
    values_ = AlignedArray<float>(2 * int64_t{channels_});
    for (size_t slot = 0; slot < 2; ++slot) {
      const float* const from = context.parameters.floats(node, slot, channels_);
      std::copy(from, from + channels_, values_.data() + slot * static_cast<size_t>(channels_));
    }
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    require(may_equal(inputs[0].channels, channels_), "a norm of ", channels_, " channels got ", inputs[0].channels);
    return inputs[0];
  }

  void run(const Context& context) const override {
    const Value& input = context.inputs[0];
    const float *scale = values_.data(), *shift = scale + channels_;
    context.share_range(channels_, plane_grain(input.shape), [&](int64_t first, int64_t last) {
      for (int64_t c = first; c < last; ++c) {
        float* const to = context.output.channel(c);
        context.kernels.f32.scale_shift(input.channel(c), scale[c], shift[c], to, input.pitch());
        finish(context.kernels.f32, activation_, to, input.pitch());
      }
    });
  }

 private:
  Activation activation_;
  int32_t channels_;
  AlignedArray<float> values_;
};

}  // namespace

std::unique_ptr<Operation> make_add(const Node& node) { return std::make_unique<Addition>(node); }
std::unique_ptr<Operation> make_multiply(const Node& node) { return std::make_unique<Multiplication>(node); }
std::unique_ptr<Operation> make_activation(const Node& node) { return std::make_unique<Activating>(node); }
std::unique_ptr<Operation> make_affine(const Node& node) { return std::make_unique<Affine>(node); }

}  // namespace paddle_unstructured::f32
