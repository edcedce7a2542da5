// SPDX-License-Identifier: Apache-2.0
// Between float32 and bfloat16.

#include <algorithm>
#include <cstring>

#include "../shapes.h"
#include "number.h"

namespace paddle_unstructured::bf16 {
namespace {

class Rounding : public Operation {
 public:
  Format accept(const Node&, const std::vector<Format>&) override { return {Type::kBfloat16, {}}; }
  bool reads_pixels_only() const override { return true; }

  void run(const Context& context) const override {
    const Value& input = context.inputs[0];
    const int64_t channels = input.shape.channels;
    if (input.pitch() == 1) {
      auto* const to = static_cast<uint16_t*>(context.output.data);
      for (int64_t c = 0; c < channels; ++c) to[c] = rounded(input.floats()[c]);
      if (channels % 2 != 0) to[channels] = 0;
      return;
    }
    context.share_range(input.shape.pairs(), plane_grain(input.shape), [&](int64_t first, int64_t last) {
      for (int64_t pair = first; pair < last; ++pair)
        context.kernels.bf16.round(input.channel(2 * pair),
                                   2 * pair + 1 < channels ? input.channel(2 * pair + 1) : nullptr,
                                   context.output.group(pair), input.pitch());
    });
  }
};

class Widening : public Operation {
 public:
  void run(const Context& context) const override {
    const Value& from = context.inputs[0];
    if (from.pitch() == 1) {
      const auto* const numbers = reinterpret_cast<const uint16_t*>(from.bytes());
      for (int64_t c = 0; c < from.shape.channels; ++c) context.output.floats()[c] = widened(numbers[c]);
      return;
    }
    context.share_range(from.shape.channels, plane_grain(from.shape), [&](int64_t first, int64_t last) {
      for (int64_t channel = first; channel < last; ++channel)
        context.kernels.bf16.widen(from.group(channel / 2), static_cast<int32_t>(channel % 2),
                                   context.output.channel(channel), from.pitch());
    });
  }
};

}  // namespace

std::unique_ptr<Operation> make_round(const Node&) { return std::make_unique<Rounding>(); }
std::unique_ptr<Operation> make_widen(const Node&) { return std::make_unique<Widening>(); }

}  // namespace paddle_unstructured::bf16
