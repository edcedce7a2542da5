// Pooling, sums, products, activations, and what only moves values.

#include <algorithm>
#include <cstring>

#include "error.h"
#include "operation.h"
#include "weights.h"
#include "window.h"

namespace paddle_unstructured {
namespace {

constexpr int64_t kGrain = 4096;  // floats that are worth a task of their own

int64_t plane_grain(const Shape& shape) { return kGrain / shape.pitch() + 1; }

void finish(const KernelTable& kernels, const Activation& activation, float* values, int64_t count) {
  if (!activation.is_none()) kernels.activate(activation, values, values, count);
}

class Pooling : public Operation {
 public:
  explicit Pooling(const Node& node) : window_(node) {}

  Shape output_shape(const std::vector<Shape>& inputs) const override { return window_.output_shape(inputs[0]); }

  void run(const Context& context) const override {
    const Window window = window_.bind(context.inputs[0], context.output.shape);
    const auto pitch = static_cast<ptrdiff_t>(context.output.pitch());
    const Shape& shape = context.output.shape;
    context.share_range(shape.channels, plane_grain(shape), [&](int64_t first, int64_t last) {
      context.kernels.pool({window, context.output.data, pitch, static_cast<int32_t>(first),
                            static_cast<int32_t>(last), window_.maximum, window_.exclusive});
    });
  }

 private:
  PoolingWindow window_;
};

class GlobalPooling : public Operation {
 public:
  Shape output_shape(const std::vector<Shape>& inputs) const override { return {inputs[0].channels, 1, 1}; }

  void run(const Context& context) const override {
    const Activations& input = context.inputs[0];
    const int64_t pixels = input.shape.pixels();
    context.share_range(input.shape.channels, plane_grain(input.shape), [&](int64_t first, int64_t last) {
      for (int64_t channel = first; channel < last; ++channel)
        context.output.data[channel] = context.kernels.sum(input.plane(channel), pixels) / static_cast<float>(pixels);
    });
  }
};

class Addition : public Operation {
 public:
  explicit Addition(const Node& node) : activation_(node.activation()) {}

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    const Shape &a = inputs[0], &b = inputs[1];
    require(may_equal(a.channels, b.channels) && may_equal(a.height, b.height) && may_equal(a.width, b.width),
            "a sum of two activations of different sizes; give an input of the size that the model was made for");
    return a.known() ? a : b;
  }

  void run(const Context& context) const override {
    const float *a = context.inputs[0].data, *b = context.inputs[1].data;
    float* const output = context.output.data;
    const Shape& shape = context.output.shape;
    context.share_range(shape.channels * shape.pitch() / kPlaneAlign + 1, kGrain / kPlaneAlign,
                        [&](int64_t first, int64_t last) {
      const int64_t end = std::min(last * kPlaneAlign, shape.channels * shape.pitch());
      const int64_t at = first * kPlaneAlign;
      for (int64_t i = at; i < end; i += kGrain / 4) {  // both passes while the values are in the cache
        const int64_t count = std::min(kGrain / 4, end - i);
        context.kernels.add(a + i, b + i, output + i, count);
        finish(context.kernels, activation_, output + i, count);
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

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    const Shape &a = inputs[0], &b = inputs[1];
    const bool sizes = !a.known() || !b.known() || a.pixels() == 1 || b.pixels() == 1 || a == b;
    require(may_equal(a.channels, b.channels) && sizes,
            "a product of activations of different sizes; give an input of the size that the model was made for");
    return a.known() && a.pixels() == 1 ? b : a;
  }

  void run(const Context& context) const override {
    const bool swap = context.inputs[0].shape != context.output.shape;
    const Activations &plane = context.inputs[swap ? 1 : 0], &factor = context.inputs[swap ? 0 : 1];
    const bool scalar = factor.shape != plane.shape;
    const Shape& shape = plane.shape;
    context.share_range(shape.channels, plane_grain(shape), [&](int64_t first, int64_t last) {
      for (int64_t channel = first; channel < last; ++channel) {
        float* const to = context.output.plane(channel);
        if (scalar) {
          context.kernels.scale_shift(plane.plane(channel), factor.data[channel], 0.0f, to, shape.pitch());
        } else {
          context.kernels.multiply(plane.plane(channel), factor.plane(channel), to, shape.pitch());
        }
        finish(context.kernels, activation_, to, shape.pitch());
      }
    });
  }

 private:
  Activation activation_;
};

class Activating : public Operation {
 public:
  explicit Activating(const Node& node) : activation_(node.activation()) {}

  Shape output_shape(const std::vector<Shape>& inputs) const override { return inputs[0]; }

  void run(const Context& context) const override {
    const Activations& input = context.inputs[0];
    context.share_range(input.shape.channels, plane_grain(input.shape), [&](int64_t first, int64_t last) {
      context.kernels.activate(activation_, input.plane(first), context.output.plane(first),
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
    values_ = AlignedFloats(2 * int64_t{channels_});
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
    const Activations& input = context.inputs[0];
    const float *scale = values_.data(), *shift = scale + channels_;
    context.share_range(channels_, plane_grain(input.shape), [&](int64_t first, int64_t last) {
      for (int64_t c = first; c < last; ++c) {
        float* const to = context.output.plane(c);
        context.kernels.scale_shift(input.plane(c), scale[c], shift[c], to, input.pitch());
        finish(context.kernels, activation_, to, input.pitch());
      }
    });
  }

 private:
  Activation activation_;
  int32_t channels_;
  AlignedFloats values_;
};

}  // namespace

Shape concatenated(const std::vector<Shape>& inputs) {
  Shape all = inputs[0];
  for (size_t i = 1; i < inputs.size(); ++i) {
    require(may_equal(all.height, inputs[i].height) && may_equal(all.width, inputs[i].width),
            "a concatenation of activations of different sizes");
    all.channels =
        all.channels == kUnknown || inputs[i].channels == kUnknown ? kUnknown : all.channels + inputs[i].channels;
  }
  return all;
}

namespace {

class Concatenation : public Operation {
 public:
  Shape output_shape(const std::vector<Shape>& inputs) const override { return concatenated(inputs); }

  void run(const Context& context) const override {
    float* to = context.output.data;
    for (const Activations& input : context.inputs) {
      const int64_t count = input.shape.channels * input.pitch();
      to = std::copy(input.data, input.data + count, to);
    }
  }
};

// [channels, height, width] to a plain vector, without the padding of the planes.
class Flattening : public Operation {
 public:
  Shape output_shape(const std::vector<Shape>& inputs) const override { return {inputs[0].values(), 1, 1}; }

  void run(const Context& context) const override {
    const Activations& input = context.inputs[0];
    float* to = context.output.data;
    for (int64_t channel = 0; channel < input.shape.channels; ++channel)
      to = std::copy(input.plane(channel), input.plane(channel) + input.shape.pixels(), to);
  }
};

class Softmax : public Operation {
 public:
  Shape output_shape(const std::vector<Shape>& inputs) const override {
    require(may_equal(inputs[0].values(), inputs[0].channels), "a softmax over planes, where it takes vectors");
    return inputs[0];
  }

  void run(const Context& context) const override {
    const Activations& input = context.inputs[0];
    context.kernels.softmax(input.data, context.output.data, input.shape.channels);
  }
};

}  // namespace

std::unique_ptr<Operation> make_pool(const Node& node) { return std::make_unique<Pooling>(node); }
std::unique_ptr<Operation> make_global_pool() { return std::make_unique<GlobalPooling>(); }
std::unique_ptr<Operation> make_add(const Node& node) { return std::make_unique<Addition>(node); }
std::unique_ptr<Operation> make_multiply(const Node& node) { return std::make_unique<Multiplication>(node); }
std::unique_ptr<Operation> make_activation(const Node& node) { return std::make_unique<Activating>(node); }
std::unique_ptr<Operation> make_affine(const Node& node) { return std::make_unique<Affine>(node); }
std::unique_ptr<Operation> make_concat() { return std::make_unique<Concatenation>(); }
std::unique_ptr<Operation> make_flatten() { return std::make_unique<Flattening>(); }
std::unique_ptr<Operation> make_softmax() { return std::make_unique<Softmax>(); }

std::unique_ptr<Operation> make_operation(const Node& node) {
  const std::string& kind = node.kind();
  if (kind == "conv") return make_convolution(node);
  if (kind == "depthwise") return make_depthwise(node);
  if (kind == "pool") return make_pool(node);
  if (kind == "global_pool") return make_global_pool();
  if (kind == "add") return make_add(node);
  if (kind == "multiply") return make_multiply(node);
  if (kind == "activation") return make_activation(node);
  if (kind == "affine") return make_affine(node);
  if (kind == "concat") return make_concat();
  if (kind == "flatten") return make_flatten();
  if (kind == "softmax") return make_softmax();
  if (std::unique_ptr<Operation> operation = make_operation8(node)) return operation;
  node.refuse("is a kind that this version does not know");
}

}  // namespace paddle_unstructured
