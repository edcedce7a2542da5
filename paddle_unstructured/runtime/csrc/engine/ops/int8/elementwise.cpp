// SPDX-License-Identifier: Apache-2.0
// Sums, products, tables: byte by byte.

#include <algorithm>
#include <cmath>

#include "operation.h"

namespace paddle_unstructured::int8 {
namespace {

class Addition : public Operation {
 public:
  Format accept(const Node& node, const std::vector<Format>& inputs) override {
    const Quantization output = read_quantization(node);
    const ByteRange range = byte_range(node, output);
    const double scale = output.scale;
    task_.by_a = checked_factor(node, inputs[0].quantization.scale / scale);
    task_.by_b = checked_factor(node, inputs[1].quantization.scale / scale);
    task_.offset = checked_factor(node, output.zero - inputs[0].quantization.zero * double{task_.by_a} -
                                            inputs[1].quantization.zero * double{task_.by_b});
    task_.low = range.low;
    task_.high = range.high;
    fits_ = 255.0 * task_.by_a + 255.0 * task_.by_b + std::fabs(double{task_.offset}) < kMostNumber;
    return int8_format(output);
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override { return shape_of_sum(inputs); }

  void run(const Context& context) const override {
    const KernelTable& kernels = kernels_for(context.kernels.int8, fits_);
    share_bytes(context, context.output, [&](int64_t first, int64_t count) {
      kernels.add(task_, context.inputs[0].bytes() + first, context.inputs[1].bytes() + first,
                  context.output.bytes() + first, count);
    });
  }

 private:
  Add task_{};
  bool fits_ = true;
};

// A plane times a plane, or a plane times one number for each channel (squeeze-and-excite).
class Multiplication : public Operation {
 public:
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

  Shape output_shape(const std::vector<Shape>& inputs) const override { return shape_of_product(inputs); }

  void run(const Context& context) const override {
    const bool swap = context.inputs[0].shape != context.output.shape;
    const Value &plane = context.inputs[swap ? 1 : 0], &factor = context.inputs[swap ? 0 : 1];
    const KernelTable& kernels = kernels_for(context.kernels.int8, 255.0 * 255.0 * task_.scale < kMostNumber);
    Multiply task = task_;
    if (swap) std::swap(task.zero_a, task.zero_b);
    if (factor.shape == plane.shape) {
      return share_bytes(context, plane, [&](int64_t first, int64_t count) {
        kernels.multiply(task, plane.bytes() + first, factor.bytes() + first, context.output.bytes() + first, count);
      });
    }
    context.share_range(plane.shape.groups(), plane_grain(plane.shape), [&](int64_t first, int64_t last) {
      for (int64_t group = first; group < last; ++group)
        kernels.multiply_group(task, plane.group(group), factor.bytes() + group * kGroup, context.output.group(group),
                               plane.group_pitch());
    });
  }

 private:
  Multiply task_{};
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

std::unique_ptr<Operation> make_add(const Node&) { return std::make_unique<Addition>(); }
std::unique_ptr<Operation> make_multiply(const Node&) { return std::make_unique<Multiplication>(); }
std::unique_ptr<Operation> make_lookup(const Node&) { return std::make_unique<Lookup>(); }

}  // namespace paddle_unstructured::int8
