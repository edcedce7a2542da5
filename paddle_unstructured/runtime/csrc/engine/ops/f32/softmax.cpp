// SPDX-License-Identifier: Apache-2.0
// Softmax, its logarithm, and the place of the largest or smallest number: over channels, rows or planes.

#include <string>

#include "../../error.h"
#include "../shapes.h"

namespace paddle_unstructured::f32 {
namespace {

enum class Over { kChannels, kWidth, kPixels };

Over read_over(const Node& node) {
  const std::string& name = node.has("over") ? node.text("over") : "channels";
  if (name == "channels") return Over::kChannels;
  if (name == "width") return Over::kWidth;
  if (name != "pixels") node.refuse("goes over an unknown axis: " + name);
  return Over::kPixels;
}

// Calls function(first pixel, last pixel) for parts of a plane.
template <typename Function>
void share_pixels(const Context& context, const Shape& shape, const Function& function) {
  const int64_t blocks = (shape.pixels() + kPlaneAlign - 1) / kPlaneAlign;
  context.share_range(blocks, kGrain / (kPlaneAlign * shape.channels) + 1, [&](int64_t first, int64_t last) {
    function(first * kPlaneAlign, std::min(last * kPlaneAlign, shape.pixels()));
  });
}

OverChannels task_of(const Value& from, const Value& to, int64_t first, int64_t last, bool log) {
  return {from.floats() + first,
          to.floats() + first,
          static_cast<ptrdiff_t>(from.pitch()),
          static_cast<ptrdiff_t>(to.pitch()),
          from.shape.channels,
          last - first,
          log};
}

class Softmax : public Operation {
 public:
  explicit Softmax(const Node& node)
      : over_(read_over(node)),
        log_(node.has("log") && node.integer("log", 0, 1) == 1),
        vectors_(!node.has("over")) {}

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    require(!vectors_ || may_equal(inputs[0].values(), inputs[0].channels),
            "a softmax over planes, where it takes vectors");
    return inputs[0];
  }

  void run(const Context& context) const override {
    const Value &from = context.inputs[0], &to = context.output;
    const Shape& shape = from.shape;
    const KernelTable& kernels = context.kernels.f32;
    if (over_ == Over::kChannels && shape.pixels() == 1)
      return kernels.softmax(from.floats(), to.floats(), shape.channels, log_);
    if (over_ == Over::kChannels)
      return share_pixels(context, shape, [&](int64_t first, int64_t last) {
        kernels.softmax_channels(task_of(from, to, first, last, log_));
      });
    const int64_t rows = over_ == Over::kWidth ? shape.height : 1, width = shape.pixels() / rows;
    context.share_range(shape.channels * rows, kGrain / width + 1, [&](int64_t first, int64_t last) {
      for (int64_t row = first; row < last; ++row) {
        const int64_t at = row % rows * width;
        kernels.softmax(from.channel(row / rows) + at, to.channel(row / rows) + at, width, log_);
      }
    });
  }

 private:
  Over over_;
  bool log_, vectors_;
};

// The number of the largest or smallest, the first of equal ones, as a float.
class Argument : public Operation {
 public:
  explicit Argument(const Node& node) : over_(read_over(node)), maximum_(node.text("type") == "max") {
    if (!maximum_ && node.text("type") != "min") node.refuse("has an unknown type: " + node.text("type"));
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    const Shape& input = inputs[0];
    if (over_ == Over::kChannels) return {1, input.height, input.width};
    if (over_ == Over::kWidth) return {input.channels, input.height, 1};
    return {input.channels, 1, 1};
  }

  void run(const Context& context) const override {
    const Value &from = context.inputs[0], &to = context.output;
    const Shape& shape = from.shape;
    if (over_ == Over::kChannels)
      return share_pixels(context, shape, [&](int64_t first, int64_t last) {
        context.kernels.f32.arg_channels(task_of(from, to, first, last, false), maximum_);
      });
    const int64_t rows = over_ == Over::kWidth ? shape.height : 1, width = shape.pixels() / rows;
    context.share_range(shape.channels * rows, kGrain / width + 1, [&](int64_t first, int64_t last) {
      for (int64_t row = first; row < last; ++row)
        to.channel(row / rows)[row % rows] = place(from.channel(row / rows) + row % rows * width, width);
    });
  }

 private:
  float place(const float* values, int64_t count) const {
    int64_t best = 0;
    for (int64_t i = 1; i < count; ++i)
      if (maximum_ ? values[i] > values[best] : values[i] < values[best]) best = i;
    return static_cast<float>(best);
  }

  Over over_;
  bool maximum_;
};

}  // namespace

std::unique_ptr<Operation> make_softmax(const Node& node) { return std::make_unique<Softmax>(node); }
std::unique_ptr<Operation> make_arg(const Node& node) { return std::make_unique<Argument>(node); }

}  // namespace paddle_unstructured::f32
