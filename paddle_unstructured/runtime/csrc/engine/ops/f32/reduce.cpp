// SPDX-License-Identifier: Apache-2.0
// Means, sums, maxima, minima and products over channels, height, width, or any of these together; pooling to a size.

#include <algorithm>

#include "../reduce.h"
#include "../shapes.h"

namespace paddle_unstructured::f32 {
namespace {

class Reduction : public Operation {
 public:
  explicit Reduction(const Node& node) : over_(read_over(node)), mean_(node.text("type") == "mean") {
    const std::string& type = node.text("type");
    if (type == "mean" || type == "sum")
      function_ = Pair::kAdd;
    else if (type == "max")
      function_ = Pair::kMaximum;
    else if (type == "min")
      function_ = Pair::kMinimum;
    else if (type == "product")
      function_ = Pair::kMultiply;
    else
      node.refuse("has an unknown type: " + type);
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override { return over_.left(inputs[0]); }

  // Over channels and pixels: one plane of each channel, before they meet.
  int64_t scratch_bytes(const std::vector<Shape>& inputs) const override {
    return over_.channels ? (output_shape(inputs).pitch() + kGuard) * kPixelBytes : 0;
  }

  void run(const Context& context) const override {
    const Value &from = context.inputs[0], &to = context.output;
    if (over_.channels) {
      run_channels(context);
    } else {
      context.share_range(from.shape.channels, plane_grain(from.shape), [&](int64_t first, int64_t last) {
        for (int64_t channel = first; channel < last; ++channel)
          plane(context.kernels.f32, from.shape, from.channel(channel), to.channel(channel));
      });
    }
    if (!mean_) return;
    const float scale = 1.0f / static_cast<float>(from.shape.values() / std::max<int64_t>(1, to.shape.values()));
    for (int64_t channel = 0; channel < to.shape.channels; ++channel)
      context.kernels.f32.scale_shift(to.channel(channel), scale, 0.0f, to.channel(channel), to.pitch());
  }

 private:
  void run_channels(const Context& context) const {
    const Value &from = context.inputs[0], &to = context.output;
    const KernelTable& kernels = context.kernels.f32;
    if (!over_.height && !over_.width) {
      const int64_t pitch = to.pitch(), blocks = (pitch + kGrain / 4 - 1) / (kGrain / 4);
      context.share_range(blocks, 1, [&](int64_t first, int64_t last) {
        const int64_t at = first * (kGrain / 4), count = std::min(last * (kGrain / 4), pitch) - at;
        std::copy(from.floats() + at, from.floats() + at + count, to.floats() + at);
        for (int64_t channel = 1; channel < from.shape.channels; ++channel)
          kernels.pair(function_, Repeated::kNone, to.floats() + at, from.channel(channel) + at, to.floats() + at,
                       count);
      });
      return;
    }
    float* const one = context.scratch<float>(0);
    plane(kernels, from.shape, from.floats(), to.floats());
    for (int64_t channel = 1; channel < from.shape.channels; ++channel) {
      plane(kernels, from.shape, from.channel(channel), one);
      kernels.pair(function_, Repeated::kNone, to.floats(), one, to.floats(), to.shape.pixels());
    }
  }

  void plane(const KernelTable& kernels, const Shape& shape, const float* from, float* to) const {
    if (over_.height && over_.width) {
      *to = function_ == Pair::kAdd ? kernels.sum(from, shape.pixels()) : kernels.fold(function_, from, shape.pixels());
    } else if (over_.width) {
      for (int64_t row = 0; row < shape.height; ++row)
        to[row] = kernels.fold(function_, from + row * shape.width, shape.width);
    } else if (over_.height) {
      std::copy(from, from + shape.width, to);
      for (int64_t row = 1; row < shape.height; ++row)
        kernels.pair(function_, Repeated::kNone, to, from + row * shape.width, to, shape.width);
    } else {
      std::copy(from, from + shape.pixels(), to);
    }
  }

  Over over_;
  bool mean_;
  Pair function_ = Pair::kAdd;
};

class AdaptivePooling : public Operation {
 public:
  explicit AdaptivePooling(const Node& node) : bins_(node) {}

  Shape output_shape(const std::vector<Shape>& inputs) const override { return bins_.output_shape(inputs[0]); }

  void run(const Context& context) const override {
    const Value &from = context.inputs[0], &to = context.output;
    const Shape& shape = from.shape;
    context.share_range(shape.channels, plane_grain(shape), [&](int64_t first, int64_t last) {
      for (int64_t channel = first; channel < last; ++channel)
        for (int64_t y = 0; y < to.shape.height; ++y)
          for (int64_t x = 0; x < to.shape.width; ++x)
            to.channel(channel)[y * to.shape.width + x] = pooled(
                context.kernels.f32, from.channel(channel), shape.width, bins_.rows(shape, y), bins_.columns(shape, x));
    });
  }

 private:
  float pooled(const KernelTable& kernels, const float* plane, int64_t width, const Bins::Run& rows,
               const Bins::Run& columns) const {
    const bool maximum = bins_.maximum();
    const int64_t across = columns.last - columns.first;
    float total = maximum ? plane[rows.first * width + columns.first] : 0.0f;
    for (int64_t row = rows.first; row < rows.last; ++row) {
      const float one =
          kernels.fold(maximum ? Pair::kMaximum : Pair::kAdd, plane + row * width + columns.first, across);
      if (maximum) {
        const float two[2] = {total, one};
        total = kernels.fold(Pair::kMaximum, two, 2);
      } else {
        total += one;
      }
    }
    return maximum ? total : total / static_cast<float>((rows.last - rows.first) * across);
  }

  Bins bins_;
};

}  // namespace

std::unique_ptr<Operation> make_reduce(const Node& node) { return std::make_unique<Reduction>(node); }
std::unique_ptr<Operation> make_adaptive_pool(const Node& node) { return std::make_unique<AdaptivePooling>(node); }

}  // namespace paddle_unstructured::f32
