// SPDX-License-Identifier: Apache-2.0
// Layer norm and RMS norm (each pixel over its channels), group norm and instance norm (groups of whole planes).

#include <algorithm>
#include <cmath>

#include "../../error.h"
#include "../../memory.h"
#include "../shapes.h"

namespace paddle_unstructured::f32 {
namespace {

constexpr int64_t kTile = 64;  // pixels that are worth a task of their own

// (x - mean) / sqrt(variance + epsilon) * scale + shift; with center=0 the mean is taken as zero.
class Normalization : public Operation {
 public:
  explicit Normalization(const Node& node)
      : channels_(node.integer("out", 1, kLargest)),
        groups_(node.integer("groups", 1, kLargest)),
        epsilon_(node.number("epsilon")),
        center_(node.integer("center", 0, 1) == 1),
        planes_(node.text("over") == "planes"),
        activation_(node.activation()) {
    if (!planes_ && node.text("over") != "channels") node.refuse("has a norm over what is not known");
    if (channels_ % groups_ != 0) node.refuse("has channels that do not divide into its groups");
    if (!(epsilon_ >= 0)) node.refuse("has a negative epsilon");
  }

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

  void run(const Context& context) const override { planes_ ? run_planes(context) : run_pixels(context); }

 private:
  const float* scale() const { return values_.data(); }
  const float* shift() const { return values_.data() + channels_; }
  int32_t width() const { return channels_ / groups_; }

  void finish(const Context& context, float* values, int64_t count) const {
    if (!activation_.is_none()) context.kernels.f32.activate(activation_, values, values, count);
  }

  void run_pixels(const Context& context) const {
    const Value& input = context.inputs[0];
    const int64_t pixels = input.shape.pixels(), tiles = (pixels + kTile - 1) / kTile;
    context.share(tiles * groups_, [&](int64_t task, int) {
      const int64_t pixel = task % tiles * kTile, channel = task / tiles * width();
      const int64_t count = std::min(kTile, pixels - pixel);
      const auto pitch = static_cast<ptrdiff_t>(input.pitch());
      float* const to = context.output.channel(channel) + pixel;
      context.kernels.f32.norm({input.channel(channel) + pixel, pitch, to, pitch, width(), count, scale() + channel,
                                shift() + channel, epsilon_, center_});
      if (activation_.is_none()) return;
      for (int64_t c = 0; c < width(); ++c) finish(context, to + c * pitch, count);
    });
  }

  void run_planes(const Context& context) const {
    context.share(groups_, [&](int64_t group, int) {
      const Value& input = context.inputs[0];
      const KernelTable& kernels = context.kernels.f32;
      const int64_t pixels = input.shape.pixels(), first = group * width(), last = first + width();
      const double count = static_cast<double>(width()) * static_cast<double>(pixels);
      double mean = 0, variance = 0;
      for (int64_t c = first; center_ && c < last; ++c) mean += double{kernels.sum(input.channel(c), pixels)};
      const auto middle = static_cast<float>(mean / count);
      for (int64_t c = first; c < last; ++c)
        variance += double{kernels.sum_of_squares(input.channel(c), middle, pixels)};
      const double inverse = 1.0 / std::sqrt(variance / count + double{epsilon_});
      for (int64_t c = first; c < last; ++c) {
        const double factor = inverse * double{scale()[c]};
        float* const to = context.output.channel(c);
        kernels.scale_shift(input.channel(c), static_cast<float>(factor),
                            static_cast<float>(double{shift()[c]} - factor * double{middle}), to, input.pitch());
        finish(context, to, input.pitch());
      }
    });
  }

  int32_t channels_, groups_;
  float epsilon_;
  bool center_, planes_;
  Activation activation_;
  AlignedArray<float> values_;
};

}  // namespace

std::unique_ptr<Operation> make_norm(const Node& node) { return std::make_unique<Normalization>(node); }

}  // namespace paddle_unstructured::f32
