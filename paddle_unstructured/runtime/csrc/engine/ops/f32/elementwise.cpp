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

// Two values, or one and a constant that is repeated: each of channels, height and width is equal or 1 in one of them.
class Pairing : public Operation {
 public:
  Pairing(const Node& node, Pair function) : activation_(node.activation()), function_(function) {}

  Shape output_shape(const std::vector<Shape>& inputs) const override { return shape_of_pair(inputs); }

  void run(const Context& context) const override {
    const Value &a = context.inputs[0], &b = context.inputs[1], &to = context.output;
    if (a.shape == to.shape && b.shape == to.shape) return run_alike(context);
    const bool whole_a = a.shape.pixels() == to.shape.pixels(), whole_b = b.shape.pixels() == to.shape.pixels();
    context.share_range(to.shape.channels, plane_grain(to.shape), [&](int64_t first, int64_t last) {
      for (int64_t channel = first; channel < last; ++channel) {
        float* const plane = to.channel(channel);
        const float* const from_a = a.channel(a.shape.channels == 1 ? 0 : channel);
        const float* const from_b = b.channel(b.shape.channels == 1 ? 0 : channel);
        if (whole_a && whole_b) {
          context.kernels.f32.pair(function_, Repeated::kNone, from_a, from_b, plane, to.pitch());
        } else if ((whole_a || a.shape.pixels() == 1) && (whole_b || b.shape.pixels() == 1)) {
          const Repeated repeated = whole_a ? Repeated::kSecond : Repeated::kFirst;
          context.kernels.f32.pair(function_, repeated, from_a, from_b, plane, to.pitch());
        } else {
          run_rows(context, from_a, from_b, plane);
        }
        finish(context.kernels.f32, activation_, plane, to.pitch());
      }
    });
  }

 private:
  void run_alike(const Context& context) const {
    const float *a = context.inputs[0].floats(), *b = context.inputs[1].floats();
    float* const output = context.output.floats();
    const int64_t all = context.output.shape.channels * context.output.pitch();
    context.share_range(all / kPlaneAlign + 1, kGrain / kPlaneAlign, [&](int64_t first, int64_t last) {
      const int64_t end = std::min(last * kPlaneAlign, all);
      for (int64_t i = first * kPlaneAlign; i < end; i += kGrain / 4) {  // both passes while it is in the cache
        const int64_t count = std::min(kGrain / 4, end - i);
        context.kernels.f32.pair(function_, Repeated::kNone, a + i, b + i, output + i, count);
        finish(context.kernels.f32, activation_, output + i, count);
      }
    });
  }

  void run_rows(const Context& context, const float* a, const float* b, float* plane) const {
    const Shape &of_a = context.inputs[0].shape, &of_b = context.inputs[1].shape, &to = context.output.shape;
    const bool both = of_a.width == of_b.width;
    const Repeated repeated = both ? Repeated::kNone : of_a.width == 1 ? Repeated::kFirst : Repeated::kSecond;
    for (int64_t row = 0; row < to.height; ++row)
      context.kernels.f32.pair(function_, repeated, a + (of_a.height == 1 ? 0 : row * of_a.width),
                               b + (of_b.height == 1 ? 0 : row * of_b.width), plane + row * to.width, to.width);
  }

  Activation activation_;
  Pair function_;
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

// x < 0 ? slope * x : x, a slope for each channel.
class Prelu : public Operation {
 public:
  explicit Prelu(const Node& node) : channels_(node.integer("out", 1, kLargest)) {}

  void load(const Node& node, const LoadContext& context) override {
    slopes_ = AlignedArray<float>(channels_);
    const float* const from = context.parameters.floats(node, 0, channels_);
    std::copy(from, from + channels_, slopes_.data());
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    require(may_equal(inputs[0].channels, channels_), "slopes of ", channels_, " channels got ", inputs[0].channels);
    return inputs[0];
  }

  void run(const Context& context) const override {
    const Value& input = context.inputs[0];
    context.share_range(channels_, plane_grain(input.shape), [&](int64_t first, int64_t last) {
      for (int64_t c = first; c < last; ++c)
        context.kernels.f32.prelu(input.channel(c), slopes_.data()[c], context.output.channel(c), input.pitch());
    });
  }

 private:
  int32_t channels_;
  AlignedArray<float> slopes_;
};

}  // namespace

std::unique_ptr<Operation> make_prelu(const Node& node) { return std::make_unique<Prelu>(node); }

#define PU_MAKE_PAIR(make, function) \
  std::unique_ptr<Operation> make(const Node& node) { return std::make_unique<Pairing>(node, Pair::function); }
PU_MAKE_PAIR(make_add, kAdd)
PU_MAKE_PAIR(make_subtract, kSubtract)
PU_MAKE_PAIR(make_multiply, kMultiply)
PU_MAKE_PAIR(make_divide, kDivide)
PU_MAKE_PAIR(make_maximum, kMaximum)
PU_MAKE_PAIR(make_minimum, kMinimum)
PU_MAKE_PAIR(make_equal, kEqual)
PU_MAKE_PAIR(make_not_equal, kNotEqual)
PU_MAKE_PAIR(make_less, kLess)
PU_MAKE_PAIR(make_less_equal, kLessEqual)
PU_MAKE_PAIR(make_keep, kKeep)
PU_MAKE_PAIR(make_drop, kDrop)
PU_MAKE_PAIR(make_expand, kFirst)
#undef PU_MAKE_PAIR

std::unique_ptr<Operation> make_activation(const Node& node) { return std::make_unique<Activating>(node); }
std::unique_ptr<Operation> make_affine(const Node& node) { return std::make_unique<Affine>(node); }

}  // namespace paddle_unstructured::f32
