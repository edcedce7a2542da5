// SPDX-License-Identifier: Apache-2.0
// Where maxima of windows lie, and planes whose numbers are put back there; planes cut into rows of another length.

#include <algorithm>

#include "../../error.h"
#include "../../window.h"
#include "../shapes.h"

namespace paddle_unstructured::f32 {
namespace {

// The place of a window's first maximum in its plane, row * width + column.
class PlaceOfMaximum : public Operation {
 public:
  explicit PlaceOfMaximum(const Node& node) : window_(node) {}

  Shape output_shape(const std::vector<Shape>& inputs) const override { return window_.output_shape(inputs[0]); }

  void run(const Context& context) const override {
    const Value &from = context.inputs[0], &to = context.output;
    const Window window = window_.bind(from.shape, to.shape);
    context.share_range(to.shape.channels, plane_grain(from.shape), [&](int64_t first, int64_t last) {
      for (int64_t channel = first; channel < last; ++channel)
        for (int64_t y = 0; y < to.shape.height; ++y)
          for (int64_t x = 0; x < to.shape.width; ++x)
            to.channel(channel)[y * to.shape.width + x] =
                static_cast<float>(place(from.channel(channel), from.shape, window, y, x));
    });
  }

 private:
  int64_t place(const float* plane, const Shape& shape, const Window& window, int64_t y, int64_t x) const {
    const int64_t top = y * window.stride_height - window.pad_top, left = x * window.stride_width - window.pad_left;
    const int64_t bottom = std::min(top + window.kernel_height, shape.height);
    const int64_t right = std::min(left + window.kernel_width, shape.width);
    int64_t found = -1;
    for (int64_t row = std::max<int64_t>(0, top); row < bottom; ++row)
      for (int64_t column = std::max<int64_t>(0, left); column < right; ++column) {
        const int64_t at = row * shape.width + column;
        if (found < 0 || plane[at] > plane[found]) found = at;
      }
    return std::max<int64_t>(0, found);
  }

  PoolingWindow window_;
};

// Zeros, but for the first input's numbers at the places that the second one says. Places outside are left out.
class Unpooling : public Operation {
 public:
  explicit Unpooling(const Node& node) {
    const std::vector<int32_t> size = node.integers("size", 2, 1, 1 << 16);
    height_ = size[0];
    width_ = size[1];
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    require(may_equal(inputs[0].channels, inputs[1].channels) && may_equal(inputs[0].height, inputs[1].height) &&
                may_equal(inputs[0].width, inputs[1].width),
            "numbers and their places are of different sizes; give an input of the size that the model was made for");
    return {inputs[0].channels, height_, width_};
  }

  void run(const Context& context) const override {
    const Value &numbers = context.inputs[0], &places = context.inputs[1], &to = context.output;
    const int64_t pixels = numbers.shape.pixels();
    context.share_range(to.shape.channels, plane_grain(to.shape), [&](int64_t first, int64_t last) {
      for (int64_t channel = first; channel < last; ++channel) {
        float* const plane = to.channel(channel);
        std::fill(plane, plane + to.shape.pixels(), 0.0f);
        for (int64_t i = 0; i < pixels; ++i) {
          const float place = places.channel(channel)[i];
          if (place >= 0 && place < static_cast<float>(to.shape.pixels()))
            plane[static_cast<int64_t>(place)] = numbers.channel(channel)[i];
        }
      }
    });
  }

 private:
  int64_t height_, width_;
};

// The first input's numbers as they lie, in rows as long as the second one's.
class Shaped : public Operation {
 public:
  Shape output_shape(const std::vector<Shape>& inputs) const override {
    if (inputs[0].known() && inputs[1].known())
      require(inputs[0].pixels() == inputs[1].pixels(), "planes of ", inputs[0].pixels(),
              " numbers are given rows of others; give an input of the size that the model was made for");
    return {inputs[0].channels, inputs[1].height, inputs[1].width};
  }

  void run(const Context& context) const override {
    const Value& from = context.inputs[0];
    std::copy(from.floats(), from.floats() + from.shape.channels * from.pitch(), context.output.floats());
  }
};

}  // namespace

std::unique_ptr<Operation> make_place(const Node& node) { return std::make_unique<PlaceOfMaximum>(node); }
std::unique_ptr<Operation> make_unpool(const Node& node) { return std::make_unique<Unpooling>(node); }
std::unique_ptr<Operation> make_shaped(const Node&) { return std::make_unique<Shaped>(); }

}  // namespace paddle_unstructured::f32
