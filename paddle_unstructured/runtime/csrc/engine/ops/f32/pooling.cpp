// SPDX-License-Identifier: Apache-2.0
// Maxima and means over windows, and over whole planes.

#include "../shapes.h"
#include "convolution.h"

namespace paddle_unstructured::f32 {
namespace {

class Pooling : public Operation {
 public:
  explicit Pooling(const Node& node) : window_(node) {}

  Shape output_shape(const std::vector<Shape>& inputs) const override { return window_.output_shape(inputs[0]); }

  void run(const Context& context) const override {
    const Window window = window_.bind(context.inputs[0].shape, context.output.shape);
    const auto pitch = static_cast<ptrdiff_t>(context.output.pitch());
    const Shape& shape = context.output.shape;
    context.share_range(shape.channels, plane_grain(shape), [&](int64_t first, int64_t last) {
      context.kernels.f32.pool({planes_of(context.inputs[0]), window, context.output.floats(), pitch,
                                static_cast<int32_t>(first), static_cast<int32_t>(last), window_.maximum,
                                window_.exclusive});
    });
  }

 private:
  PoolingWindow window_;
};

class GlobalPooling : public Operation {
 public:
  Shape output_shape(const std::vector<Shape>& inputs) const override { return {inputs[0].channels, 1, 1}; }

  void run(const Context& context) const override {
    const Value& input = context.inputs[0];
    const int64_t pixels = input.shape.pixels();
    context.share_range(input.shape.channels, plane_grain(input.shape), [&](int64_t first, int64_t last) {
      for (int64_t channel = first; channel < last; ++channel)
        context.output.floats()[channel] =
            context.kernels.f32.sum(input.channel(channel), pixels) / static_cast<float>(pixels);
    });
  }
};

}  // namespace

std::unique_ptr<Operation> make_pool(const Node& node) { return std::make_unique<Pooling>(node); }
std::unique_ptr<Operation> make_global_pool(const Node&) { return std::make_unique<GlobalPooling>(); }

}  // namespace paddle_unstructured::f32
