// SPDX-License-Identifier: Apache-2.0
// Planes of another size: by the nearest pixel, whose bytes move, or between pixels.
//
// Between pixels weights are whole numbers of 1 / kBlendUnit, so that sums are exact:
//   q = rint(fma(float(sum over rows and columns of weight * weight * (q - zero)), scale, output zero))

#include "../resize.h"

#include <cmath>

#include "../../error.h"
#include "operation.h"

namespace paddle_unstructured::int8 {
namespace {

constexpr int64_t kRoom = 64;  // numbers that a kernel may write beyond a row

class NearestResize : public Operation {
 public:
  explicit NearestResize(Resizing resizing) : resizing_(std::move(resizing)) {}

  Format accept(const Node&, const std::vector<Format>& inputs) override { return inputs[0]; }

  Shape output_shape(const std::vector<Shape>& inputs) const override { return resizing_.output_shape(inputs); }

  void run(const Context& context) const override {
    const Value &from = context.inputs[0], &to = context.output;
    const Taps rows = resizing_.rows(from.shape, to.shape), columns = resizing_.columns(from.shape, to.shape);
    remap(context, {from.shape.groups(), from.shape.width, from.pitch(), to.pitch(), rows.places, columns.places, 0},
          from.data, to.data);
  }

 private:
  Resizing resizing_;
};

// Weights in whole numbers: those of a place add up to kBlendUnit.
std::vector<int32_t> whole_weights(const Taps& taps) {
  const size_t count = taps.places.size() / 2;
  std::vector<int32_t> made(2 * count);
  for (size_t i = 0; i < count; ++i) {
    made[count + i] = static_cast<int32_t>(std::nearbyint(taps.weights[count + i] * kBlendUnit));
    made[i] = kBlendUnit - made[count + i];
  }
  return made;
}

class LinearResize : public Operation {
 public:
  explicit LinearResize(Resizing resizing) : resizing_(std::move(resizing)) {}

  Format accept(const Node& node, const std::vector<Format>& inputs) override {
    const Quantization output = read_quantization(node), &input = inputs[0].quantization;
    const double step = double{input.scale} / double{output.scale};
    checked_factor(node, step);
    scale_ = static_cast<float>(step / (double{kBlendUnit} * kBlendUnit));
    center_ = input.zero * kBlendUnit * kBlendUnit;
    zero_ = static_cast<float>(output.zero);
    fits_ = 255.0 * step < kMostNumber;
    return int8_format(output);
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override { return resizing_.output_shape(inputs); }

  int64_t scratch_bytes(const std::vector<Shape>& inputs) const override {
    const int64_t to = output_shape(inputs).width;
    return sums_room(inputs[0].width, to) * static_cast<int64_t>(sizeof(int32_t)) + to * kGroup + kRoom;
  }

  void run(const Context& context) const override {
    const Value &from = context.inputs[0], &to = context.output;
    const Taps rows = resizing_.rows(from.shape, to.shape), columns = resizing_.columns(from.shape, to.shape);
    const std::vector<int32_t> of_rows = whole_weights(rows), of_columns = whole_weights(columns);
    const KernelTable& kernels = kernels_for(context.kernels.int8, fits_);
    const int64_t height = to.shape.height, width = to.shape.width, groups = from.shape.groups();
    const int64_t tasks = std::max<int64_t>(1, groups / plane_grain(to.shape));
    context.share(tasks, [&](int64_t task, int worker) {
      auto* const sums = context.scratch<int32_t>(worker);
      auto* const row = reinterpret_cast<uint8_t*>(sums + sums_room(from.shape.width, width));
      Blend blend{{nullptr, nullptr},
                  {0, 0},
                  from.shape.width,
                  columns.places.data(),
                  of_columns.data(),
                  width,
                  sums,
                  center_,
                  scale_,
                  zero_,
                  row};
      for (int64_t group = groups * task / tasks; group < groups * (task + 1) / tasks; ++group)
        for (int64_t y = 0; y < height; ++y) {
          for (int64_t tap = 0; tap < 2; ++tap) {
            const auto at = static_cast<size_t>(tap * height + y);
            blend.rows[tap] = from.group(group) + rows.places[at] * from.shape.width * kGroup;
            blend.row_weights[tap] = of_rows[at];
          }
          kernels.blend(blend);
          std::copy(row, row + width * kGroup, to.group(group) + y * width * kGroup);
        }
    });
  }

 private:
  static int64_t sums_room(int64_t from, int64_t to) { return (from + to) * kGroup + 2 * kRoom; }

  Resizing resizing_;
  float scale_ = 0, zero_ = 0;
  int32_t center_ = 0;
  bool fits_ = true;
};

}  // namespace

std::unique_ptr<Operation> make_resize(const Node& node) {
  Resizing resizing(node);
  if (resizing.is_nearest()) return std::make_unique<NearestResize>(std::move(resizing));
  if (!resizing.is_linear()) node.refuse("has a mode that int8 does not take");
  return std::make_unique<LinearResize>(std::move(resizing));
}

}  // namespace paddle_unstructured::int8
