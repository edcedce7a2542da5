// SPDX-License-Identifier: Apache-2.0
// The product of two activations, group by group of their channels: scores of an attention, and what it takes of its
// values. `sum` says along what each of them is summed:
//
//   a: (groups, k | m) or (groups, m | k)    b: (groups, k | n) or (groups, n | k)    result: (groups, m | n)
//      sum=channels       sum=pixels            sum=channels       sum=pixels

#include <algorithm>

#include "../../error.h"
#include "../../operation.h"

namespace paddle_unstructured::f32 {
namespace {

constexpr int64_t kPanelPixels = 96;  // of `b` at a time: six of the widest vectors
constexpr int64_t kPanelDepth = 128;

struct Sides {  // of one operand: what is summed over, and what is left
  int64_t sum, free;
};

class MatrixProduct : public Operation {
 public:
  explicit MatrixProduct(const Node& node)
      : groups_(node.integer("groups", 1, kLargest)),
        factor_(node.has("factor") ? node.number("factor") : 1.0f) {
    const std::string& sum = node.text("sum");
    const size_t comma = sum.find(',');
    if (comma == std::string::npos) node.refuse("has a bad sum: " + sum);
    a_pixels_ = along_pixels(node, sum.substr(0, comma));
    b_pixels_ = along_pixels(node, sum.substr(comma + 1));
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    const Sides a = sides(inputs[0], a_pixels_), b = sides(inputs[1], b_pixels_);
    require(may_equal(a.sum, b.sum), "a product that sums over ", a.sum, " numbers of one side and ", b.sum,
            " of the other; give an input of the size that the model was made for");
    const int64_t rows = a.free == kUnknown ? kUnknown : a.free * groups_;
    if (b_pixels_) return {rows, b.free == kUnknown ? kUnknown : 1, b.free};
    return {rows, inputs[1].height, inputs[1].width};
  }

  int64_t scratch_bytes(const std::vector<Shape>&) const override {
    return kPanelDepth * (kPanelPixels + kPlaneAlign) * int64_t{sizeof(float)};
  }

  void run(const Context& context) const override {
    const Value &a = context.inputs[0], &b = context.inputs[1];
    const int64_t depth = sides(a.shape, a_pixels_).sum, pixels = context.output.shape.pixels();
    const int64_t rows = context.output.shape.channels / groups_;
    const int64_t tiles = (pixels + kPanelPixels - 1) / kPanelPixels;
    context.share(groups_ * tiles, [&](int64_t task, int worker) {
      const int64_t group = task / tiles, pixel = task % tiles * kPanelPixels;
      const int64_t wide = std::min(kPanelPixels, pixels - pixel);
      Product product{};
      product.a_row = a_pixels_ ? a.pitch() : 1;
      product.a_depth = a_pixels_ ? 1 : a.pitch();
      product.output = context.output.channel(group * rows) + pixel;
      product.output_pitch = context.output.pitch();
      product.rows = static_cast<int32_t>(rows);
      product.pixels = wide;
      for (int64_t first = 0; first < depth; first += kPanelDepth) {
        const int64_t deep = std::min(kPanelDepth, depth - first);
        product.a = a.channel(group * (a_pixels_ ? rows : depth)) + first * product.a_depth;
        product.depth = static_cast<int32_t>(deep);
        product.adds = first > 0;
        if (b_pixels_) {
          float* const panel = context.scratch<float>(worker);
          context.kernels.f32.transpose(b.channel(group * pixels + pixel) + first, b.pitch(), panel,
                                        round_up(wide, kPlaneAlign), wide, deep);
          product.b = panel;
          product.b_pitch = round_up(wide, kPlaneAlign);
        } else {
          product.b = b.channel(group * depth + first) + pixel;
          product.b_pitch = b.pitch();
        }
        context.kernels.f32.product(product);
      }
      if (factor_ != 1.0f)
        for (int64_t row = 0; row < rows; ++row) {
          float* const to = product.output + row * product.output_pitch;
          context.kernels.f32.scale_shift(to, factor_, 0.0f, to, wide);
        }
    });
  }

 private:
  static bool along_pixels(const Node& node, const std::string& word) {
    if (word != "pixels" && word != "channels") node.refuse("has a bad sum: " + word);
    return word == "pixels";
  }

  Sides sides(const Shape& shape, bool pixels) const {
    const int64_t plane = shape.height == kUnknown || shape.width == kUnknown ? kUnknown : shape.pixels();
    require(shape.channels == kUnknown || shape.channels % groups_ == 0, "a product in ", groups_,
            " groups of an activation with ", shape.channels, " channels");
    const int64_t channels = shape.channels == kUnknown ? kUnknown : shape.channels / groups_;
    return pixels ? Sides{plane, channels} : Sides{channels, plane};
  }

  int32_t groups_;
  float factor_;
  bool a_pixels_, b_pixels_;
};

}  // namespace

std::unique_ptr<Operation> make_matmul(const Node& node) { return std::make_unique<MatrixProduct>(node); }

}  // namespace paddle_unstructured::f32
