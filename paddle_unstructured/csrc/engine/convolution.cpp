// Convolutions and linear layers: pack a panel of pixels, multiply it by the matrix of weights, block by block.

#include <algorithm>
#include <cmath>

#include "error.h"
#include "operation.h"
#include "weights.h"
#include "window.h"

namespace paddle_unstructured {
namespace {

class Convolution : public Operation {
 public:
  explicit Convolution(const Node& node)
      : window_(node),
        activation_(node.activation()),
        channels_(node.integer("in", 1, kLargest)),
        outputs_(node.integer("out", 1, kLargest)) {}

  void load(const Node& node, const LoadContext& context) override {
    const int64_t depth = int64_t{channels_} * window_.kernel[0] * window_.kernel[1];
    matrix_ = load_matrix(node, context.parameters, outputs_, depth, context.kernels, context.threads,
                          node.has("linear"));
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    const Shape& input = inputs[0];
    require(may_equal(input.channels, channels_), "a layer with ", channels_, " input channels got ", input.channels,
            "; give an input of the size that the model was made for");
    return {outputs_, window_.output_height(input.height), window_.output_width(input.width)};
  }

  int64_t scratch_floats(const std::vector<Shape>& inputs) const override {
    const Tiling& tiling = matrix_->tiling();
    // A panel and one vector that the last run of pixels may spill into.
    const int64_t panel = int64_t{tiling.depth} * tiling.vectors * kPlaneAlign + kPlaneAlign;
    const bool single = output_shape(inputs).pixels() == 1;
    return single ? matrix_->depth() + 2 * kPlaneAlign : panel;
  }

  void run(const Context& context) const override {
    if (context.output.shape.pixels() == 1) return run_single_pixel(context);
    const Tiling& tiling = matrix_->tiling();
    const int64_t vectors = context.output.pitch() / context.kernels.lanes;
    const int64_t tiles = (vectors + tiling.vectors - 1) / tiling.vectors;
    // With few tiles for the threads, the outputs are shared out too; each task then packs its own panel.
    const int32_t slices = context.threads() > 1 && tiles < 4 * context.threads() ? matrix_->slices() : 1;
    context.share(tiles * slices, [&](int64_t task, int worker) {
      const int64_t tile = task / slices;
      const int64_t first = vectors * tile / tiles, last = vectors * (tile + 1) / tiles;
      const auto slice = static_cast<int32_t>(task % slices);
      run_tile(context, worker, first, static_cast<int32_t>(last - first), slices == 1 ? 0 : slice,
               slices == 1 ? matrix_->slices() : slice + 1);
    });
  }

 private:
  // A 1x1 convolution of a single block may read the input where it lies.
  bool reads_in_place(const Window& window) const {
    return matrix_->blocks() == 1 && window_.is_single_pixel() && window_.stride[0] == 1 && window_.stride[1] == 1 &&
           window.height == window.output_height && window.width == window.output_width;
  }

  void run_tile(const Context& context, int worker, int64_t first, int32_t vectors, int32_t first_slice,
                int32_t last_slice) const {
    const Window window = window_.bind(context.inputs[0], context.output.shape);
    const int64_t pixel = first * context.kernels.lanes;
    Tile tile{};
    tile.output = context.output.data + pixel;
    tile.output_pitch = static_cast<ptrdiff_t>(context.output.pitch());
    tile.vectors = vectors;
    for (int32_t block = 0; block < matrix_->blocks(); ++block) {
      const bool last = block + 1 == matrix_->blocks();
      tile.low = last && activation_.is_clamp() ? activation_.a : -INFINITY;
      tile.high = last && activation_.is_clamp() ? activation_.b : INFINITY;
      make_panel(context, window, worker, block, pixel, &tile);
      for (int32_t slice = first_slice; slice < last_slice; ++slice)
        matrix_->multiply(context.kernels, block, slice, tile);
    }
    if (!activation_.is_clamp()) activate_rows(context, tile, first_slice, last_slice);
  }

  void make_panel(const Context& context, const Window& window, int worker, int32_t block, int64_t pixel,
                  Tile* tile) const {
    if (reads_in_place(window)) {
      tile->panel = window.input + pixel;
      tile->panel_pitch = window.pitch;
      return;
    }
    float* const panel = context.scratch[static_cast<size_t>(worker)];
    context.kernels.pack(
        {window, matrix_->block_begin(block), matrix_->block_end(block), pixel, tile->vectors, panel});
    tile->panel = panel;
    tile->panel_pitch = static_cast<ptrdiff_t>(tile->vectors) * context.kernels.lanes;
  }

  void activate_rows(const Context& context, const Tile& tile, int32_t first_slice, int32_t last_slice) const {
    const int32_t last = matrix_->slice_end(last_slice - 1);
    for (int32_t row = matrix_->slice_begin(first_slice); row < last; ++row) {
      float* const values = tile.output + row * tile.output_pitch;
      context.kernels.activate(activation_, values, values, int64_t{tile.vectors} * context.kernels.lanes);
    }
  }

  void run_single_pixel(const Context& context) const {
    const float* const input = single_pixel_input(context);
    float* const output = context.output.data;
    context.share(matrix_->slices(), [&](int64_t task, int) {
      const auto slice = static_cast<int32_t>(task);
      matrix_->multiply_vector(context.kernels, slice, input, output);
      const int32_t first = matrix_->slice_begin(slice);
      if (!activation_.is_none())
        context.kernels.activate(activation_, output + first, output + first, matrix_->slice_end(slice) - first);
    });
  }

  // The one column of the panel; worker 0's scratch is free until tasks are shared out.
  const float* single_pixel_input(const Context& context) const {
    const Activations& input = context.inputs[0];
    if (input.shape.pixels() == 1 && window_.is_single_pixel()) return input.data;
    float* to = context.scratch[0];
    for (int64_t channel = 0; channel < channels_; ++channel)
      for (int32_t ky = 0; ky < window_.kernel[0]; ++ky)
        for (int32_t kx = 0; kx < window_.kernel[1]; ++kx) {
          const int64_t y = int64_t{ky} * window_.dilation[0] - window_.pad[0];
          const int64_t x = int64_t{kx} * window_.dilation[1] - window_.pad[2];
          const bool inside = y >= 0 && y < input.shape.height && x >= 0 && x < input.shape.width;
          *to++ = inside ? input.plane(channel)[y * input.shape.width + x] : 0.0f;
        }
    return context.scratch[0];
  }

  WindowSize window_;
  Activation activation_;
  int32_t channels_, outputs_;
  std::unique_ptr<Matrix> matrix_;
};

class DepthwiseConvolution : public Operation {
 public:
  explicit DepthwiseConvolution(const Node& node)
      : window_(node), activation_(node.activation()), channels_(node.integer("out", 1, kLargest)) {
    const int32_t kernel = window_.kernel[0], stride = window_.stride[0];
    if (kernel != window_.kernel[1] || (kernel != 3 && kernel != 5) || stride != window_.stride[1] || stride > 2 ||
        window_.dilation[0] != 1 || window_.dilation[1] != 1)
      node.refuse("has a depthwise window that no kernel covers");
  }

  void load(const Node& node, const LoadContext& context) override {
    const int64_t count = int64_t{channels_} * window_.kernel[0] * window_.kernel[1];
    weight_ = copy(context.parameters.floats(node, 0, count), count);
    bias_ = copy(context.parameters.floats(node, 1, channels_), channels_);
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    const Shape& input = inputs[0];
    require(may_equal(input.channels, channels_), "a depthwise layer with ", channels_, " channels got ",
            input.channels, "; give an input of the size that the model was made for");
    return {channels_, window_.output_height(input.height), window_.output_width(input.width)};
  }

  void run(const Context& context) const override {
    Depthwise all{};
    all.window = window_.bind(context.inputs[0], context.output.shape);
    all.output = context.output.data;
    all.output_pitch = static_cast<ptrdiff_t>(context.output.pitch());
    all.weight = weight_.data();
    all.bias = bias_.data();
    all.low = activation_.is_clamp() ? activation_.a : -INFINITY;
    all.high = activation_.is_clamp() ? activation_.b : INFINITY;
    context.share_range(channels_, 1, [&](int64_t first, int64_t last) {
      Depthwise part = all;
      part.first = static_cast<int32_t>(first);
      part.last = static_cast<int32_t>(last);
      context.kernels.depthwise(part);
      float* const values = context.output.plane(first);
      if (!activation_.is_clamp())
        context.kernels.activate(activation_, values, values, (last - first) * context.output.pitch());
    });
  }

 private:
  static AlignedFloats copy(const float* values, int64_t count) {
    AlignedFloats result(count);
    std::copy(values, values + count, result.data());
    return result;
  }

  WindowSize window_;
  Activation activation_;
  int32_t channels_;
  AlignedFloats weight_, bias_;
};

}  // namespace

std::unique_ptr<Operation> make_convolution(const Node& node) {
  return std::make_unique<Convolution>(node);
}

std::unique_ptr<Operation> make_depthwise(const Node& node) {
  return std::make_unique<DepthwiseConvolution>(node);
}

}  // namespace paddle_unstructured
