// SPDX-License-Identifier: Apache-2.0
// Maxima and means over windows, and over whole planes.

#include <algorithm>
#include <cmath>

#include "../../window.h"
#include "operation.h"

namespace paddle_unstructured::int8 {
namespace {

class Pooling : public Operation {
 public:
  explicit Pooling(const Node& node) : window_(node) {}

  Format accept(const Node& node, const std::vector<Format>& inputs) override {
    if (window_.maximum) return inputs[0];
    const Quantization output = read_quantization(node);
    checked_factor(node, double{inputs[0].quantization.scale} / double{output.scale});
    return int8_format(output);
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override { return window_.output_shape(inputs[0]); }

  void run(const Context& context) const override {
    const Shape& shape = context.output.shape;
    Pool task{};
    task.input = planes_of(context.inputs[0]);
    task.window = window_.bind(context.inputs[0].shape, shape);
    task.output = context.output.bytes();
    task.output_pitch = static_cast<ptrdiff_t>(context.output.group_pitch());
    task.maximum = window_.maximum;
    task.exclusive = window_.exclusive;
    task.input_zero = context.inputs[0].quantization.zero;
    task.input_scale = context.inputs[0].quantization.scale;
    task.output_scale = context.output.quantization.scale;
    task.zero = static_cast<float>(context.output.quantization.zero);
    context.share_task(task, shape.groups(), plane_grain(shape), context.kernels.int8.pool);
  }

 private:
  PoolingWindow window_;
};

class GlobalPooling : public Operation {
 public:
  Format accept(const Node& node, const std::vector<Format>& inputs) override {
    const Quantization output = read_quantization(node);
    checked_factor(node, double{inputs[0].quantization.scale} / double{output.scale});
    return int8_format(output);
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override { return {inputs[0].channels, 1, 1}; }

  void run(const Context& context) const override {
    const Value& from = context.inputs[0];
    const Quantization &in = from.quantization, &out = context.output.quantization;
    const int64_t pixels = from.shape.pixels();
    const auto scale = static_cast<float>(double{in.scale} / (static_cast<double>(pixels) * double{out.scale}));
    context.share_range(from.shape.groups(), plane_grain(from.shape), [&](int64_t first, int64_t last) {
      for (int64_t group = first; group < last; ++group) {
        int32_t sums[kGroup];
        context.kernels.int8.sum(from.group(group), pixels, sums);
        for (int64_t c = 0; c < kGroup; ++c) {
          const auto centered = static_cast<float>(static_cast<int32_t>(sums[c] - in.zero * pixels));
          const float real = std::nearbyint(std::fma(centered, scale, static_cast<float>(out.zero)));
          context.output.bytes()[group * kGroup + c] = static_cast<uint8_t>(std::clamp(real, 0.0f, 255.0f));
        }
      }
    });
  }
};

}  // namespace

std::unique_ptr<Operation> make_pool(const Node& node) { return std::make_unique<Pooling>(node); }
std::unique_ptr<Operation> make_global_pool(const Node&) { return std::make_unique<GlobalPooling>(); }

}  // namespace paddle_unstructured::int8
