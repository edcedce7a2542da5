// SPDX-License-Identifier: Apache-2.0
// Sums, products, tables: byte by byte.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "operation.h"

namespace paddle_unstructured::int8 {
namespace {

// The plane of one group of a value, as wide and high as that of the output that it meets: where it lies if it is so
// already; else what has one channel, row or column is repeated in memory of the caller.
const uint8_t* spread_group(const Value& from, const Shape& to, int64_t group, uint8_t* memory) {
  const Shape& shape = from.shape;
  const uint8_t* const plane = from.group(shape.channels == 1 ? 0 : group);
  const bool one_channel = shape.channels == 1 && to.channels != 1;
  if (!one_channel && shape.height == to.height && shape.width == to.width) return plane;
  uint8_t* pixel = memory;
  for (int64_t y = 0; y < to.height; ++y)
    for (int64_t x = 0; x < to.width; ++x, pixel += kGroup) {
      const int64_t at = (shape.height == 1 ? 0 : y * shape.width) + (shape.width == 1 ? 0 : x);
      if (one_channel)
        std::memset(pixel, plane[at * kGroup], kGroup);
      else
        std::memcpy(pixel, plane + at * kGroup, kGroup);
    }
  return memory;
}

const uint8_t* spread_channels(const Value& from, const Shape& to, uint8_t* memory) {
  if (from.shape.channels == to.channels) return from.bytes();
  std::memset(memory, *from.bytes(), static_cast<size_t>(to.groups() * kGroup));
  return memory;
}

// Of one plane of a group, or of all channels of a single pixel.
int64_t room_of(const Shape& shape) {
  return round_up((shape.pixels() == 1 ? shape.groups() : shape.pitch()) * kGroup, 64);
}

bool repeats(const Value& value, const Shape& to) { return value.shape != to; }

// Two values, or with the word `repeats` one of which may have one channel, row or column that meets all of the other.
class Pairing : public Operation {
 public:
  explicit Pairing(const Node& node) : repeats_(node.has("repeats")) {}

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    return repeats_ ? shape_of_pair(inputs) : shape_of_sum(inputs);
  }

  int64_t scratch_bytes(const std::vector<Shape>& inputs) const override {
    const Shape to = output_shape(inputs);
    return repeats_ && inputs[0] != inputs[1] ? 2 * room_of(to) : 0;
  }

 protected:
  // function(bytes of a, of b, of the output, how many), over all bytes of the output.
  template <typename Function>
  void run_pairs(const Context& context, const Function& function) const {
    const Value &a = context.inputs[0], &b = context.inputs[1], &to = context.output;
    if (!repeats(a, to.shape) && !repeats(b, to.shape))
      return share_bytes(context, to, [&](int64_t first, int64_t count) {
        function(a.bytes() + first, b.bytes() + first, to.bytes() + first, count);
      });
    const int64_t groups = to.shape.groups(), tasks = std::max<int64_t>(1, groups / plane_grain(to.shape));
    if (to.shape.pixels() == 1) {  // one run of channels
      auto* const memory = context.scratch<uint8_t>(0);
      return function(spread_channels(a, to.shape, memory), spread_channels(b, to.shape, memory + room_of(to.shape)),
                      to.bytes(), groups * kGroup);
    }
    context.share(tasks, [&](int64_t task, int worker) {
      auto* const memory = context.scratch<uint8_t>(worker);
      uint8_t* const other = memory + room_of(to.shape);
      for (int64_t group = groups * task / tasks; group < groups * (task + 1) / tasks; ++group)
        function(spread_group(a, to.shape, group, memory), spread_group(b, to.shape, group, other), to.group(group),
                 to.shape.pixels() * kGroup);
    });
  }

 private:
  bool repeats_;
};

class Addition : public Pairing {
 public:
  // The second value is added `sign` times.
  Addition(const Node& node, double sign) : Pairing(node), sign_(sign) {}

  Format accept(const Node& node, const std::vector<Format>& inputs) override {
    const Quantization output = read_quantization(node);
    const ByteRange range = byte_range(node, output);
    const double scale = output.scale;
    task_.by_a = checked_factor(node, inputs[0].quantization.scale / scale);
    task_.by_b = checked_factor(node, sign_ * inputs[1].quantization.scale / scale);
    task_.offset = checked_factor(node, output.zero - inputs[0].quantization.zero * double{task_.by_a} -
                                            inputs[1].quantization.zero * double{task_.by_b});
    task_.low = range.low;
    task_.high = range.high;
    fits_ = 255.0 * task_.by_a + 255.0 * std::fabs(double{task_.by_b}) + std::fabs(double{task_.offset}) < kMostNumber;
    return int8_format(output);
  }

  void run(const Context& context) const override {
    const KernelTable& kernels = kernels_for(context.kernels.int8, fits_);
    run_pairs(context, [&](const uint8_t* a, const uint8_t* b, uint8_t* to, int64_t count) {
      kernels.add(task_, a, b, to, count);
    });
  }

 private:
  Add task_{};
  double sign_;
  bool fits_ = true;
};

// A plane times a plane, or a plane times one number for each channel (squeeze-and-excite), or what else repeats.
class Multiplication : public Pairing {
 public:
  explicit Multiplication(const Node& node) : Pairing(node), repeats_(node.has("repeats")) {}

  Format accept(const Node& node, const std::vector<Format>& inputs) override {
    const Quantization output = read_quantization(node);
    const ByteRange range = byte_range(node, output);
    const double scale =
        double{inputs[0].quantization.scale} * double{inputs[1].quantization.scale} / double{output.scale};
    task_ = {inputs[0].quantization.zero,
             inputs[1].quantization.zero,
             checked_factor(node, scale),
             static_cast<float>(output.zero),
             range.low,
             range.high};
    return int8_format(output);
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    return repeats_ ? Pairing::output_shape(inputs) : shape_of_product(inputs);
  }

  void run(const Context& context) const override {
    const bool swap = context.inputs[0].shape != context.output.shape;
    const Value &plane = context.inputs[swap ? 1 : 0], &factor = context.inputs[swap ? 0 : 1];
    const KernelTable& kernels = kernels_for(context.kernels.int8, 255.0 * 255.0 * task_.scale < kMostNumber);
    const Shape single{plane.shape.channels, 1, 1};
    if (plane.shape != context.output.shape || factor.shape != single || plane.shape == single)
      return run_pairs(context, [&](const uint8_t* a, const uint8_t* b, uint8_t* to, int64_t count) {
        kernels.multiply(task_, a, b, to, count);
      });
    Multiply task = task_;
    if (swap) std::swap(task.zero_a, task.zero_b);
    context.share_range(plane.shape.groups(), plane_grain(plane.shape), [&](int64_t first, int64_t last) {
      for (int64_t group = first; group < last; ++group)
        kernels.multiply_group(task, plane.group(group), factor.bytes() + group * kGroup, context.output.group(group),
                               plane.group_pitch());
    });
  }

 private:
  Multiply task_{};
  bool repeats_;
};

class Lookup : public Operation {
 public:
  Format accept(const Node& node, const std::vector<Format>&) override { return int8_format(read_quantization(node)); }

  void load(const Node& node, const LoadContext& context) override {
    const std::vector<int32_t> values = context.parameters.integers(node, 0);
    if (values.size() != sizeof table_) node.refuse("has a table without 256 entries");
    for (size_t i = 0; i < values.size(); ++i) {
      if (values[i] < 0 || values[i] > 255) node.refuse("has a table with an entry that is no byte");
      table_[i] = static_cast<uint8_t>(values[i]);
    }
  }

  void run(const Context& context) const override {
    share_bytes(context, context.output, [&](int64_t first, int64_t count) {
      context.kernels.int8.lookup(table_, context.inputs[0].bytes() + first, context.output.bytes() + first, count);
    });
  }

 private:
  uint8_t table_[256] = {};
};

}  // namespace

std::unique_ptr<Operation> make_add(const Node& node) { return std::make_unique<Addition>(node, 1.0); }
std::unique_ptr<Operation> make_subtract(const Node& node) { return std::make_unique<Addition>(node, -1.0); }
std::unique_ptr<Operation> make_multiply(const Node& node) { return std::make_unique<Multiplication>(node); }
std::unique_ptr<Operation> make_lookup(const Node&) { return std::make_unique<Lookup>(); }

}  // namespace paddle_unstructured::int8
