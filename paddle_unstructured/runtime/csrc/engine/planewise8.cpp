// Sums, products, tables and pooling of bytes.

#include <algorithm>
#include <cmath>

#include "error.h"
#include "operation8.h"
#include "window.h"

namespace paddle_unstructured {
namespace {

void require_same(const Shape& a, const Shape& b, const char* what) {
  require(may_equal(a.channels, b.channels) && may_equal(a.height, b.height) && may_equal(a.width, b.width), what,
          " of two activations of different sizes; give an input of the size that the model was made for");
}

class Addition8Operation : public ByteOperation {
 public:
  Shape output_shape(const std::vector<Shape>& inputs) const override {
    require_same(inputs[0], inputs[1], "a sum");
    return inputs[0].known() ? inputs[0] : inputs[1];
  }

  void run(const Context& context) const override {
    const KernelTable8& kernels = kernels_for(context.kernels8, fits_);
    share_bytes(context, context.output.shape, [&](int64_t first, int64_t count) {
      kernels.add(task_, bytes_of(context.inputs[0]) + first, bytes_of(context.inputs[1]) + first,
                           bytes_of(context.output) + first, count);
    });
  }

 protected:
  Quantization accepted(const Node& node) override {
    const Quantization output = read_quantization(node);
    const ByteRange range = byte_range(node, output);
    const double scale = output.scale;
    task_.by_a = checked_factor(node, input(0).scale / scale);
    task_.by_b = checked_factor(node, input(1).scale / scale);
    task_.offset = checked_factor(
        node, output.zero - input(0).zero * double{task_.by_a} - input(1).zero * double{task_.by_b});
    task_.low = range.low;
    task_.high = range.high;
    fits_ = 255.0 * task_.by_a + 255.0 * task_.by_b + std::fabs(double{task_.offset}) < kMostNumber;
    return output;
  }

 private:
  Addition8 task_{};
  bool fits_ = true;
};

// A plane times a plane, or a plane times one number for each channel (squeeze-and-excite).
class Multiplication8Operation : public ByteOperation {
 public:
  Shape output_shape(const std::vector<Shape>& inputs) const override {
    const Shape &a = inputs[0], &b = inputs[1];
    const bool sizes = !a.known() || !b.known() || a.pixels() == 1 || b.pixels() == 1 || a == b;
    require(may_equal(a.channels, b.channels) && sizes,
            "a product of activations of different sizes; give an input of the size that the model was made for");
    return a.known() && a.pixels() == 1 ? b : a;
  }

  void run(const Context& context) const override {
    const bool swap = context.inputs[0].shape != context.output.shape;
    const Activations &plane = context.inputs[swap ? 1 : 0], &factor = context.inputs[swap ? 0 : 1];
    const KernelTable8& kernels = kernels_for(context.kernels8, 255.0 * 255.0 * task_.scale < kMostNumber);
    Multiplication8 task = task_;
    if (swap) std::swap(task.zero_a, task.zero_b);
    if (factor.shape == plane.shape) {
      return share_bytes(context, plane.shape, [&](int64_t first, int64_t count) {
        kernels.multiply(task, bytes_of(plane) + first, bytes_of(factor) + first, bytes_of(context.output) + first,
                         count);
      });
    }
    context.share_range(groups_of(plane.shape.channels), group_grain(plane.shape), [&](int64_t first, int64_t last) {
      for (int64_t group = first; group < last; ++group)
        kernels.multiply_group(task, group_of(plane, group), bytes_of(factor) + group * kGroup,
                               group_of(context.output, group), plane.pitch() * kGroup);
    });
  }

 protected:
  Quantization accepted(const Node& node) override {
    const Quantization output = read_quantization(node);
    const ByteRange range = byte_range(node, output);
    const double scale = double{input(0).scale} * double{input(1).scale} / double{output.scale};
    task_ = {input(0).zero, input(1).zero, checked_factor(node, scale), static_cast<float>(output.zero), range.low,
             range.high};
    return output;
  }

 private:
  Multiplication8 task_{};
};

class Lookup8 : public ByteOperation {
 public:
  void load(const Node& node, const LoadContext& context) override {
    const std::vector<int32_t> values = context.parameters.integers(node, 0);
    if (values.size() != sizeof table_) node.refuse("has a table without 256 entries");
    for (size_t i = 0; i < values.size(); ++i) {
      if (values[i] < 0 || values[i] > 255) node.refuse("has a table with an entry that is no byte");
      table_[i] = static_cast<uint8_t>(values[i]);
    }
  }

  void run(const Context& context) const override {
    share_bytes(context, context.output.shape, [&](int64_t first, int64_t count) {
      context.kernels8.lookup(table_, bytes_of(context.inputs[0]) + first, bytes_of(context.output) + first, count);
    });
  }

 protected:
  Quantization accepted(const Node& node) override { return read_quantization(node); }

 private:
  uint8_t table_[256] = {};
};

class Pooling8 : public ByteOperation {
 public:
  explicit Pooling8(const Node& node) : window_(node) {}

  Shape output_shape(const std::vector<Shape>& inputs) const override { return window_.output_shape(inputs[0]); }

  void run(const Context& context) const override {
    const Shape& shape = context.output.shape;
    Pool8 task{};
    task.window = window_.bind(context.inputs[0], shape);
    task.output = bytes_of(context.output);
    task.output_pitch = static_cast<ptrdiff_t>(shape.pitch() * kGroup);
    task.maximum = window_.maximum;
    task.exclusive = window_.exclusive;
    task.input_zero = input(0).zero;
    task.input_scale = input_scale_;
    task.output_scale = output_scale_;
    task.zero = zero_;
    context.share_range(groups_of(shape.channels), group_grain(shape), [&](int64_t first, int64_t last) {
      Pool8 part = task;
      part.first = static_cast<int32_t>(first);
      part.last = static_cast<int32_t>(last);
      context.kernels8.pool(part);
    });
  }

 protected:
  Quantization accepted(const Node& node) override {
    if (window_.maximum) return input(0);
    const Quantization output = read_quantization(node);
    checked_factor(node, double{input(0).scale} / double{output.scale});
    input_scale_ = input(0).scale;
    output_scale_ = output.scale;
    zero_ = static_cast<float>(output.zero);
    return output;
  }

 private:
  PoolingWindow window_;
  double input_scale_ = 1, output_scale_ = 1;
  float zero_ = 0;
};

class GlobalPooling8 : public ByteOperation {
 public:
  Shape output_shape(const std::vector<Shape>& inputs) const override { return {inputs[0].channels, 1, 1}; }

  void run(const Context& context) const override {
    const Activations& from = context.inputs[0];
    const int64_t pixels = from.shape.pixels();
    const auto scale =
        static_cast<float>(double{input(0).scale} / (static_cast<double>(pixels) * double{output_.scale}));
    context.share_range(groups_of(from.shape.channels), group_grain(from.shape), [&](int64_t first, int64_t last) {
      for (int64_t group = first; group < last; ++group) {
        int32_t sums[kGroup];
        context.kernels8.sum(group_of(from, group), pixels, sums);
        for (int64_t c = 0; c < kGroup; ++c) {
          const auto centered = static_cast<float>(static_cast<int32_t>(sums[c] - input(0).zero * pixels));
          const float real = std::nearbyint(std::fma(centered, scale, static_cast<float>(output_.zero)));
          bytes_of(context.output)[group * kGroup + c] = static_cast<uint8_t>(std::clamp(real, 0.0f, 255.0f));
        }
      }
    });
  }

 protected:
  Quantization accepted(const Node& node) override {
    output_ = read_quantization(node);
    checked_factor(node, double{input(0).scale} / double{output_.scale});
    return output_;
  }

 private:
  Quantization output_;
};

}  // namespace

std::unique_ptr<Operation> make_add8() { return std::make_unique<Addition8Operation>(); }
std::unique_ptr<Operation> make_multiply8() { return std::make_unique<Multiplication8Operation>(); }
std::unique_ptr<Operation> make_lookup8() { return std::make_unique<Lookup8>(); }
std::unique_ptr<Operation> make_pool8(const Node& node) { return std::make_unique<Pooling8>(node); }
std::unique_ptr<Operation> make_global_pool8() { return std::make_unique<GlobalPooling8>(); }

}  // namespace paddle_unstructured
