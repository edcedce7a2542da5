// SPDX-License-Identifier: Apache-2.0
// Between float32 and int8.

#include <algorithm>

#include "operation.h"

namespace paddle_unstructured::int8 {
namespace {

class Quantizing : public Operation {
 public:
  explicit Quantizing(const Node& node)
      : output_(read_quantization(node)),
        inverse_(checked_factor(node, 1.0 / double{output_.scale})) {}

  Format accept(const Node&, const std::vector<Format>&) override { return int8_format(output_); }

  bool reads_pixels_only() const override { return true; }

  void run(const Context& context) const override {
    const Value& input = context.inputs[0];
    const int64_t channels = input.shape.channels;
    const auto zero = static_cast<float>(output_.zero);
    if (input.pitch() == 1) {
      if (context.kernels.int8.quantize(input.floats(), inverse_, zero, context.output.bytes(), channels))
        context.lost_nan = true;
      return;
    }
    context.share_range(input.shape.groups(), plane_grain(input.shape), [&](int64_t first, int64_t last) {
      for (int64_t group = first; group < last; ++group) {
        const float* planes[kGroup];
        for (int64_t c = 0; c < kGroup; ++c) planes[c] = input.channel(std::min(group * kGroup + c, channels - 1));
        if (context.kernels.int8.quantize_group(planes, inverse_, zero, context.output.group(group), input.pitch(),
                                                input.shape.pixels()))
          context.lost_nan = true;
      }
    });
  }

 private:
  Quantization output_;
  float inverse_;
};

class Dequantizing : public Operation {
 public:
  void run(const Context& context) const override {
    const Value& from = context.inputs[0];
    const Quantization& q = from.quantization;
    if (from.pitch() == 1)
      return context.kernels.int8.dequantize(from.bytes(), q.scale, q.zero, context.output.floats(),
                                             from.shape.channels);
    context.share_range(from.shape.channels, plane_grain(from.shape), [&](int64_t first, int64_t last) {
      for (int64_t channel = first; channel < last; ++channel)
        context.kernels.int8.dequantize_plane(from.group(channel / kGroup), static_cast<int32_t>(channel % kGroup),
                                              q.scale, q.zero, context.output.channel(channel), from.pitch());
    });
  }
};

}  // namespace

std::unique_ptr<Operation> make_quantize(const Node& node) { return std::make_unique<Quantizing>(node); }
std::unique_ptr<Operation> make_dequantize(const Node&) { return std::make_unique<Dequantizing>(); }

}  // namespace paddle_unstructured::int8
