// SPDX-License-Identifier: Apache-2.0
// Means, sums, maxima and minima over channels, height, width, or any of these together; pooling to a size.
//
//   sums of whole numbers, exact:  q = rint(fma(float(sum - count * zero), scale / (count * output scale), output
//   zero))

#include <algorithm>
#include <cmath>

#include "../../error.h"
#include "../reduce.h"
#include "operation.h"

namespace paddle_unstructured::int8 {
namespace {

constexpr int64_t kMostSummed = int64_t{1} << 23;  // bytes: their sum is an int32

struct Finish {
  Quantization from, to;
  bool is_mean;

  uint8_t operator()(int64_t sum, int64_t count) const {
    const auto scale = static_cast<float>(double{from.scale} / (double(is_mean ? count : 1) * double{to.scale}));
    const auto centered = static_cast<float>(static_cast<int32_t>(sum - int64_t{from.zero} * count));
    const float real = std::nearbyint(std::fma(centered, scale, static_cast<float>(to.zero)));
    return static_cast<uint8_t>(std::clamp(real, 0.0f, 255.0f));
  }
};

class Reduction : public Operation {
 public:
  explicit Reduction(const Node& node) : over_(read_over(node)), type_(node.text("type")) {
    if (!is_sum() && type_ != "max" && type_ != "min") node.refuse("has a type that int8 does not take: " + type_);
  }

  Format accept(const Node& node, const std::vector<Format>& inputs) override {
    if (!is_sum()) return inputs[0];
    const Quantization output = read_quantization(node);
    checked_factor(node, double{inputs[0].quantization.scale} / double{output.scale});
    finish_ = {inputs[0].quantization, output, type_ == "mean"};
    return int8_format(output);
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override { return over_.left(inputs[0]); }

  // One row of what is left of a plane, for the four channels of a group, or for those of all groups one after the
  // other.
  int64_t scratch_bytes(const std::vector<Shape>& inputs) const override {
    return output_shape(inputs).pixels() * kGroup * static_cast<int64_t>(sizeof(int32_t));
  }

  void run(const Context& context) const override {
    const Value &from = context.inputs[0], &to = context.output;
    const int64_t left = to.shape.pixels(), count = from.shape.values() / std::max<int64_t>(1, to.shape.values());
    require(count <= kMostSummed, "a sum of ", count, " bytes is too large for int8; give a smaller input");
    if (!over_.channels) {
      const int64_t groups = from.shape.groups(), tasks = std::max<int64_t>(1, groups / plane_grain(from.shape));
      return context.share(tasks, [&](int64_t task, int worker) {
        auto* const folded = context.scratch<int32_t>(worker);
        for (int64_t group = groups * task / tasks; group < groups * (task + 1) / tasks; ++group) {
          begin(folded, left * kGroup);
          fold(context, from, group, folded);
          uint8_t* const bytes = to.group(group);
          for (int64_t i = 0; i < left * kGroup; ++i) bytes[i] = finished(folded[i], count);
        }
      });
    }
    auto* const folded = context.scratch<int32_t>(0);
    begin(folded, left * kGroup);
    const int64_t groups = from.shape.groups(), lanes = from.shape.channels - (groups - 1) * kGroup;
    for (int64_t group = 0; group + 1 < groups; ++group) fold(context, from, group, folded);
    std::vector<int32_t> last(static_cast<size_t>(left * kGroup));  // of whose lanes not all are channels
    begin(last.data(), left * kGroup);
    fold(context, from, groups - 1, last.data());
    for (int64_t pixel = 0; pixel < left; ++pixel) {
      int32_t all = groups > 1 ? folded[pixel * kGroup] : last[static_cast<size_t>(pixel * kGroup)];
      for (int64_t lane = groups > 1 ? 1 : kGroup; lane < kGroup; ++lane)
        all = both(all, folded[pixel * kGroup + lane]);
      for (int64_t lane = groups > 1 ? 0 : 1; lane < lanes; ++lane)
        all = both(all, last[static_cast<size_t>(pixel * kGroup + lane)]);
      to.bytes()[pixel * kGroup] = finished(all, count);
    }
  }

 private:
  bool is_sum() const { return type_ == "mean" || type_ == "sum"; }

  int32_t both(int32_t a, int32_t b) const {
    return is_sum() ? a + b : type_ == "max" ? std::max(a, b) : std::min(a, b);
  }

  uint8_t finished(int32_t folded, int64_t count) const {
    return is_sum() ? finish_(folded, count) : static_cast<uint8_t>(folded);
  }

  void begin(int32_t* folded, int64_t count) const { std::fill_n(folded, count, type_ == "min" ? 255 : 0); }

  // A group's plane into what is there already: [what is left of the plane][4].
  void fold(const Context& context, const Value& from, int64_t group, int32_t* folded) const {
    const Shape& shape = from.shape;
    const uint8_t* const plane = from.group(group);
    if (is_sum() && over_.height && over_.width) {
      int32_t sums[kGroup];
      context.kernels.int8.sum(plane, shape.pixels(), sums);
      for (int64_t lane = 0; lane < kGroup; ++lane) folded[lane] += sums[lane];
      return;
    }
    if (!over_.height && !over_.width) return fold_run(plane, shape.pixels() * kGroup, folded);
    for (int64_t y = 0; y < shape.height; ++y) {
      const uint8_t* const row = plane + y * shape.width * kGroup;
      int32_t* const into = folded + (over_.height ? 0 : y * (over_.width ? 1 : shape.width) * kGroup);
      if (!over_.width) {
        fold_run(row, shape.width * kGroup, into);
        continue;
      }
      for (int64_t x = 0; x < shape.width; ++x)
        for (int64_t lane = 0; lane < kGroup; ++lane) into[lane] = both(into[lane], row[x * kGroup + lane]);
    }
  }

  void fold_run(const uint8_t* from, int64_t count, int32_t* into) const {
    if (is_sum()) {
      for (int64_t i = 0; i < count; ++i) into[i] += from[i];
    } else if (type_ == "max") {
      for (int64_t i = 0; i < count; ++i) into[i] = std::max<int32_t>(into[i], from[i]);
    } else {
      for (int64_t i = 0; i < count; ++i) into[i] = std::min<int32_t>(into[i], from[i]);
    }
  }

  Over over_;
  std::string type_;
  Finish finish_{};
};

class AdaptivePooling : public Operation {
 public:
  explicit AdaptivePooling(const Node& node) : bins_(node) {}

  Format accept(const Node& node, const std::vector<Format>& inputs) override {
    if (bins_.maximum()) return inputs[0];
    const Quantization output = read_quantization(node);
    checked_factor(node, double{inputs[0].quantization.scale} / double{output.scale});
    finish_ = {inputs[0].quantization, output, true};
    return int8_format(output);
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override { return bins_.output_shape(inputs[0]); }

  void run(const Context& context) const override {
    const Value &from = context.inputs[0], &to = context.output;
    const Shape& shape = from.shape;
    require(shape.pixels() <= kMostSummed, "a plane is too large for int8; give a smaller input");
    context.share_range(shape.groups(), plane_grain(shape), [&](int64_t first, int64_t last) {
      for (int64_t group = first; group < last; ++group)
        for (int64_t y = 0; y < to.shape.height; ++y)
          for (int64_t x = 0; x < to.shape.width; ++x)
            pool(from.group(group), shape.width, bins_.rows(shape, y), bins_.columns(shape, x),
                 to.group(group) + (y * to.shape.width + x) * kGroup);
    });
  }

 private:
  void pool(const uint8_t* plane, int64_t width, const Bins::Run& rows, const Bins::Run& columns, uint8_t* to) const {
    int32_t sums[kGroup] = {}, most[kGroup] = {};
    for (int64_t y = rows.first; y < rows.last; ++y)
      for (int64_t x = columns.first; x < columns.last; ++x)
        for (int64_t lane = 0; lane < kGroup; ++lane) {
          const int32_t q = plane[(y * width + x) * kGroup + lane];
          sums[lane] += q;
          most[lane] = std::max(most[lane], q);
        }
    const int64_t count = (rows.last - rows.first) * (columns.last - columns.first);
    for (int64_t lane = 0; lane < kGroup; ++lane)
      to[lane] = bins_.maximum() ? static_cast<uint8_t>(most[lane]) : finish_(sums[lane], count);
  }

  Bins bins_;
  Finish finish_{};
};

}  // namespace

std::unique_ptr<Operation> make_reduce(const Node& node) { return std::make_unique<Reduction>(node); }
std::unique_ptr<Operation> make_adaptive_pool(const Node& node) { return std::make_unique<AdaptivePooling>(node); }

}  // namespace paddle_unstructured::int8
