// SPDX-License-Identifier: Apache-2.0
// What only moves bytes: transpositions, slices, repetitions, padded planes.

#include "../move.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "../../error.h"
#include "../../strided.h"
#include "../resize.h"
#include "lanes.h"

namespace paddle_unstructured::int8 {
namespace {

class Moving : public Operation {
 public:
  Format accept(const Node&, const std::vector<Format>& inputs) override { return inputs[0]; }
};

class Permuting : public Moving {
 public:
  explicit Permuting(const Node& node) : order_(node) {}

  Shape output_shape(const std::vector<Shape>& inputs) const override { return order_.output_shape(inputs[0]); }

  void run(const Context& context) const override {
    const Value &from = context.inputs[0], &to = context.output;
    const std::vector<Permutation::Factor> factors = order_.bind(from.shape);
    const auto within = [&](const Permutation::Factor& factor) {
      return factor.extent == 1 || (factor.from_axis == 0) == (factor.to_axis == 0);
    };
    const bool apart = std::all_of(factors.begin(), factors.end(), within);
    const std::vector<Place> channels = places(factors, 0, from.shape), rows = places(factors, 1, from.shape),
                             columns = places(factors, 2, from.shape);
    if (apart && keep_order(from.shape, rows, columns))
      return gather_channels(context,
                             [&](int64_t c) { return Channel{&from, channels[static_cast<size_t>(c)].channel}; });
    const int64_t width = to.shape.width;
    context.share_range(to.shape.channels, plane_grain(to.shape), [&](int64_t first, int64_t last) {
      for (int64_t c = first; c < last; ++c) {
        uint8_t* const target = to.group(c / kGroup) + c % kGroup;
        for (int64_t y = 0; y < to.shape.height; ++y)
          for (int64_t x = 0; x < width; ++x) {
            const Place place =
                channels[static_cast<size_t>(c)] + rows[static_cast<size_t>(y)] + columns[static_cast<size_t>(x)];
            target[(y * width + x) * kGroup] =
                from.group(place.channel / kGroup)[place.pixel * kGroup + place.channel % kGroup];
          }
      }
    });
  }

 private:
  struct Place {  // in the source: channel and pixel of every index on an axis of the target add up
    int64_t channel = 0, pixel = 0;
    Place operator+(const Place& other) const { return {channel + other.channel, pixel + other.pixel}; }
  };

  static std::vector<Place> places(const std::vector<Permutation::Factor>& factors, int axis, const Shape& source) {
    std::vector<Place> made{{}};
    for (const Permutation::Factor& factor : factors) {
      if (factor.to_axis != axis) continue;
      const int64_t row = factor.from_axis == 1 ? source.width : 1;
      const Place step = factor.from_axis == 0 ? Place{factor.from_stride, 0} : Place{0, factor.from_stride * row};
      std::vector<Place> next;
      next.reserve(made.size() * static_cast<size_t>(factor.extent));
      for (const Place& one : made)
        for (int64_t i = 0; i < factor.extent; ++i) next.push_back(one + Place{i * step.channel, i * step.pixel});
      made = std::move(next);
    }
    return made;
  }

  static bool keep_order(const Shape& shape, const std::vector<Place>& rows, const std::vector<Place>& columns) {
    const auto width = static_cast<int64_t>(columns.size());
    for (int64_t y = 0; y < static_cast<int64_t>(rows.size()); ++y)
      if (rows[static_cast<size_t>(y)].pixel != y * width) return false;
    for (int64_t x = 0; x < width; ++x)
      if (columns[static_cast<size_t>(x)].pixel != x) return false;
    return static_cast<int64_t>(rows.size()) * width == shape.pixels();
  }

  Permutation order_;
};

class Slice : public Moving {
 public:
  explicit Slice(const Node& node) : slicing_(node) {}

  Shape output_shape(const std::vector<Shape>& inputs) const override { return slicing_.output_shape(inputs[0]); }

  void run(const Context& context) const override {
    const Value &from = context.inputs[0], &to = context.output;
    const Slicing::Range range = slicing_.bind(from.shape);
    if (slicing_.axis() == Slicing::kChannels)
      return gather_channels(context, [&](int64_t c) { return Channel{&from, range.start + c * range.step}; });
    const int64_t along = slicing_.axis() == Slicing::kHeight ? from.shape.width : 1;
    const int64_t row = slicing_.axis() == Slicing::kHeight ? range.step : 1, column = along == 1 ? range.step : 1;
    const std::vector<Stride> axes{{from.shape.groups(), from.pitch(), to.pitch()},
                                   {to.shape.height, from.shape.width * row, to.shape.width},
                                   {to.shape.width, along == 1 ? column : 1, 1}};
    copy_strided(context, axes, from.bytes() + range.start * along * kGroup, to.data);
  }

 private:
  Slicing slicing_;
};

class Repetition : public Moving {
 public:
  explicit Repetition(const Node& node) : times_(node.integer("times", 1, kLargest)) {}

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    const Shape& input = inputs[0];
    return {input.channels == kUnknown ? kUnknown : input.channels * times_, input.height, input.width};
  }

  void run(const Context& context) const override {
    const Value& from = context.inputs[0];
    gather_channels(context, [&](int64_t c) { return Channel{&from, c % from.shape.channels}; });
  }

 private:
  int64_t times_;
};

class Pad : public Moving {
 public:
  explicit Pad(const Node& node) : padding_(node) {
    if (padding_.pads_channels()) node.refuse("pads channels of int8");
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override { return padding_.output_shape(inputs[0]); }

  void run(const Context& context) const override {
    const Value &from = context.inputs[0], &to = context.output;
    const double real = std::nearbyint(double{padding_.value()} / double{from.quantization.scale});
    const auto byte = static_cast<uint32_t>(std::clamp(real + from.quantization.zero, 0.0, 255.0));
    Remap task = padding_.bind(from.shape, to.shape, byte * 0x01010101u);
    task.planes = from.shape.groups();
    remap(context, task, from.data, to.data);
  }

 private:
  Padding padding_;
};

}  // namespace

std::unique_ptr<Operation> make_permute(const Node& node) { return std::make_unique<Permuting>(node); }
std::unique_ptr<Operation> make_slice(const Node& node) { return std::make_unique<Slice>(node); }
std::unique_ptr<Operation> make_repeat(const Node& node) { return std::make_unique<Repetition>(node); }
std::unique_ptr<Operation> make_pad(const Node& node) { return std::make_unique<Pad>(node); }

}  // namespace paddle_unstructured::int8
