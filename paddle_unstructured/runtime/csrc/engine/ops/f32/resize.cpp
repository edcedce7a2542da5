// SPDX-License-Identifier: Apache-2.0
// Planes of another size: resized by the nearest pixel, linearly or cubically; padded.
//
//   for each plane, each output row                                                     run_weighed
//     a row between rows (`weigh`), then the columns of it (`weigh_places`)

#include "../resize.h"

#include <algorithm>
#include <cstring>

#include "../shapes.h"

namespace paddle_unstructured::f32 {
namespace {

class Resize : public Operation {
 public:
  explicit Resize(const Node& node) : resizing_(node) {}

  Shape output_shape(const std::vector<Shape>& inputs) const override { return resizing_.output_shape(inputs); }

  int64_t scratch_bytes(const std::vector<Shape>& inputs) const override {
    return resizing_.is_nearest() ? 0 : (inputs[0].width + kGuard) * kPixelBytes;
  }

  void run(const Context& context) const override {
    const Value &from = context.inputs[0], &to = context.output;
    const Taps rows = resizing_.rows(from.shape, to.shape), columns = resizing_.columns(from.shape, to.shape);
    if (resizing_.is_nearest())
      return remap(context,
                   {from.shape.channels, from.shape.width, from.pitch(), to.pitch(), rows.places, columns.places, 0},
                   from.data, to.data);
    const int64_t height = to.shape.height, grain = kGrain / to.shape.pixels() + 1;
    const int64_t tasks = std::max<int64_t>(1, from.shape.channels / grain);
    context.share(tasks, [&](int64_t task, int worker) {
      float* const row = context.scratch<float>(worker);
      const int64_t first = from.shape.channels * task / tasks, last = from.shape.channels * (task + 1) / tasks;
      for (int64_t channel = first; channel < last; ++channel)
        for (int64_t y = 0; y < height; ++y) {
          const float* lines[4];
          float weights[4];
          for (int32_t tap = 0; tap < rows.taps; ++tap) {
            const auto at = static_cast<size_t>(tap * height + y);
            lines[tap] = from.channel(channel) + rows.places[at] * from.shape.width;
            weights[tap] = rows.weights[at];
          }
          context.kernels.f32.weigh(lines, weights, rows.taps, row, from.shape.width);
          context.kernels.f32.weigh_places(row, columns.places.data(), columns.weights.data(), columns.taps,
                                           to.channel(channel) + y * to.shape.width, to.shape.width);
        }
    });
  }

 private:
  Resizing resizing_;
};

class Pad : public Operation {
 public:
  explicit Pad(const Node& node) : padding_(node) {}

  Shape output_shape(const std::vector<Shape>& inputs) const override { return padding_.output_shape(inputs[0]); }

  void run(const Context& context) const override {
    const Value &from = context.inputs[0], &to = context.output;
    const float value = padding_.value();
    uint32_t fill = 0;
    std::memcpy(&fill, &value, sizeof fill);
    Remap task = padding_.bind(from.shape, to.shape, fill);
    task.planes = from.shape.channels;
    const int64_t before = padding_.channels_before();
    remap(context, task, from.data, to.channel(before));
    std::fill(to.floats(), to.channel(before), value);
    std::fill(to.channel(before + from.shape.channels), to.channel(to.shape.channels), value);
  }

 private:
  Padding padding_;
};

}  // namespace

std::unique_ptr<Operation> make_resize(const Node& node) { return std::make_unique<Resize>(node); }
std::unique_ptr<Operation> make_pad(const Node& node) { return std::make_unique<Pad>(node); }

}  // namespace paddle_unstructured::f32
