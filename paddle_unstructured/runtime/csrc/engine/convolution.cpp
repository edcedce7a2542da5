// Convolutions and linear layers: pack a panel of pixels, multiply it by the matrix of weights, block by block.

#include "convolution.h"

#include <algorithm>
#include <cmath>

#include "error.h"

namespace paddle_unstructured {

Convolution::Convolution(const Node& node)
    : window_(node),
      activation_(node.activation()),
      channels_(node.integer("in", 1, kLargest)),
      outputs_(node.integer("out", 1, kLargest)) {}

void Convolution::load(const Node& node, const LoadContext& context) {
  const int64_t depth = int64_t{channels_} * window_.kernel[0] * window_.kernel[1];
  matrix_ = load_matrix(node, context.parameters, outputs_, depth, context.kernels, context.threads,
                        node.has("linear"));
}

Shape Convolution::output_shape(const std::vector<Shape>& inputs) const {
  const Shape& input = inputs[0];
  require(may_equal(input.channels, channels_), "a layer with ", channels_, " input channels got ", input.channels,
          "; give an input of the size that the model was made for");
  return {outputs_, window_.output_height(input.height), window_.output_width(input.width)};
}

int64_t Convolution::panel_floats() const {
  // One vector more, which the last run of pixels may spill into.
  const Tiling& tiling = matrix_->tiling();
  return int64_t{tiling.depth} * tiling.most * kPlaneAlign + kPlaneAlign;
}

int64_t Convolution::scratch_floats(const std::vector<Shape>& inputs) const {
  return output_shape(inputs).pixels() == 1 ? matrix_->depth() + 2 * kPlaneAlign : panel_floats();
}

void Convolution::run(const Context& context) const {
  if (context.output.shape.pixels() == 1) return run_single_pixel(context);
  const Window window = window_.bind(context.inputs[0], context.output.shape);
  const int32_t lanes = context.kernels.lanes;
  const int64_t vectors = context.output.pitch() / lanes, tiles = tiling().tiles(vectors);
  context.share_tiles(tiles, slices(), [&](int64_t tile, int32_t first_slice, int32_t last_slice, int worker) {
    const int64_t first = vectors * tile / tiles, last = vectors * (tile + 1) / tiles;
    run_part(context, window, context.scratch[static_cast<size_t>(worker)],
             {first * lanes, first * lanes, static_cast<int32_t>(last - first), first_slice, last_slice});
  });
}

bool Convolution::is_single_pixel() const {
  return window_.is_single_pixel() && window_.stride[0] == 1 && window_.stride[1] == 1 &&
         std::all_of(window_.pad, window_.pad + 4, [](int32_t pad) { return pad == 0; });
}

// A 1x1 convolution of a single block may read the input where it lies.
bool Convolution::reads_in_place(const Window& window) const {
  return matrix_->blocks() == 1 && is_single_pixel() && window.pitch > 1;
}

void Convolution::run_part(const Context& context, const Window& window, float* panel, const Part& part) const {
  Tile tile{};
  tile.output = context.output.data + part.to;
  tile.output_pitch = static_cast<ptrdiff_t>(context.output.pitch());
  tile.vectors = part.vectors;
  tile.low = activation_.is_clamp() ? activation_.a : -INFINITY;
  tile.high = activation_.is_clamp() ? activation_.b : INFINITY;
  for (int32_t block = 0; block < matrix_->blocks(); ++block) {
    make_panel(context, window, panel, block, part.pixel, &tile);
    for (int32_t slice = part.first_slice; slice < part.last_slice; ++slice)
      matrix_->multiply(context.kernels, block, slice, tile);
  }
  if (!activation_.is_clamp()) activate_rows(context, tile, part);
}

void Convolution::make_panel(const Context& context, const Window& window, float* panel, int32_t block, int64_t pixel,
                             Tile* tile) const {
  if (reads_in_place(window)) {
    tile->panel = window.input + pixel;
    tile->panel_pitch = window.pitch;
    return;
  }
  context.kernels.pack({window, matrix_->block_begin(block), matrix_->block_end(block), pixel, tile->vectors, panel});
  tile->panel = panel;
  tile->panel_pitch = static_cast<ptrdiff_t>(tile->vectors) * context.kernels.lanes;
}

void Convolution::activate_rows(const Context& context, const Tile& tile, const Part& part) const {
  const int32_t last = matrix_->slice_end(part.last_slice - 1);
  for (int32_t row = matrix_->slice_begin(part.first_slice); row < last; ++row) {
    float* const values = tile.output + row * tile.output_pitch;
    context.kernels.activate(activation_, values, values, int64_t{tile.vectors} * context.kernels.lanes);
  }
}

void Convolution::run_single_pixel(const Context& context) const {
  const float* const input = single_pixel_input(context);
  float* const output = context.output.data;
  context.share(slices(), [&](int64_t task, int) {
    const auto slice = static_cast<int32_t>(task);
    matrix_->multiply_vector(context.kernels, slice, input, output);
    const int32_t first = matrix_->slice_begin(slice);
    if (!activation_.is_none())
      context.kernels.activate(activation_, output + first, output + first, matrix_->slice_end(slice) - first);
  });
}

// The one column of the panel; worker 0's scratch is free until tasks are shared out.
const float* Convolution::single_pixel_input(const Context& context) const {
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

std::unique_ptr<Operation> make_convolution(const Node& node) { return std::make_unique<Convolution>(node); }

}  // namespace paddle_unstructured
