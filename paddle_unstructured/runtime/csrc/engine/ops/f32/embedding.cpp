// SPDX-License-Identifier: Apache-2.0
// Rows of a table by their numbers: what token ids stand for; and position embeddings.

#include <algorithm>
#include <limits>

#include "../../error.h"
#include "../../memory.h"
#include "../shapes.h"

namespace paddle_unstructured::f32 {
namespace {

constexpr int64_t kTile = kPlaneAlign;  // pixels that are looked up together, then turned into planes

// From (c | pixels) of ids to (c, size | pixels). Where there is no such row, NaN.
class Embedding : public Operation {
 public:
  explicit Embedding(const Node& node)
      : rows_(node.integer("rows", 1, kLargest)),
        size_(node.integer("size", 1, kLargest)) {}

  void load(const Node& node, const LoadContext& context) override {
    const int64_t count = int64_t{rows_} * size_;
    const float* const from = context.parameters.floats(node, 0, count);
    table_ = AlignedArray<float>(count + kGuard);
    std::copy(from, from + count, table_.data());
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    const Shape& ids = inputs[0];
    return {ids.channels == kUnknown ? kUnknown : ids.channels * size_, ids.height, ids.width};
  }

  int64_t scratch_bytes(const std::vector<Shape>&) const override {
    return (kTile * size_ + kGuard) * int64_t{sizeof(float)};
  }

  void run(const Context& context) const override {
    const Value& ids = context.inputs[0];
    const int64_t pixels = ids.shape.pixels(), tiles = (pixels + kTile - 1) / kTile;
    context.share(ids.shape.channels * tiles, [&](int64_t task, int worker) {
      const int64_t channel = task / tiles, pixel = task % tiles * kTile, count = std::min(kTile, pixels - pixel);
      float* const found = context.scratch<float>(worker);
      for (int64_t i = 0; i < count; ++i) look_up(ids.channel(channel)[pixel + i], found + i * size_);
      const Value& output = context.output;
      context.kernels.f32.transpose(found, size_, output.channel(channel * size_) + pixel, output.pitch(), count,
                                    size_);
    });
  }

 private:
  void look_up(float id, float* to) const {
    if (!(id >= 0 && id < static_cast<float>(rows_))) {
      std::fill(to, to + size_, std::numeric_limits<float>::quiet_NaN());
      return;
    }
    const float* const row = table_.data() + static_cast<int64_t>(id) * size_;
    std::copy(row, row + size_, to);
  }

  int32_t rows_, size_;
  AlignedArray<float> table_;
};

// Of stored pixels the first ones, as many as what it reads has: position embeddings of a sequence of any length.
class Positions : public Operation {
 public:
  explicit Positions(const Node& node)
      : shape_{node.integer("channels", 1, kLargest), node.integer("height", 1, kLargest),
               node.integer("width", 1, kLargest)} {
    if (shape_.values() > (int64_t{1} << 32)) node.refuse("stores too large a plane");
  }

  void load(const Node& node, const LoadContext& context) override {
    const float* const from = context.parameters.floats(node, 0, shape_.values());
    values_ = AlignedArray<float>(shape_.values());
    std::copy(from, from + shape_.values(), values_.data());
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    const Shape& like = inputs[0];
    if (like.height != kUnknown && like.width != kUnknown)
      require(like.pixels() <= shape_.pixels(), "a sequence of ", like.pixels(), " where the model knows ",
              shape_.pixels(), " positions; give a shorter one");
    return {shape_.channels, like.height, like.width};
  }

  void run(const Context& context) const override {
    const int64_t pixels = context.output.shape.pixels();
    for (int64_t channel = 0; channel < shape_.channels; ++channel) {
      const float* const from = values_.data() + channel * shape_.pixels();
      std::copy(from, from + pixels, context.output.channel(channel));
    }
  }

 private:
  Shape shape_;
  AlignedArray<float> values_;
};

}  // namespace

std::unique_ptr<Operation> make_embedding(const Node& node) { return std::make_unique<Embedding>(node); }
std::unique_ptr<Operation> make_positions(const Node& node) { return std::make_unique<Positions>(node); }

}  // namespace paddle_unstructured::f32
