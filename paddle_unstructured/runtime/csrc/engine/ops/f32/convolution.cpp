// SPDX-License-Identifier: Apache-2.0
// Convolutions and linear layers: pack a panel of pixels, multiply it by the matrix of weights, block by block.

#include "convolution.h"

#include <algorithm>
#include <cmath>

#include "../sliding.h"

namespace paddle_unstructured::f32 {

int64_t Convolution::panel_floats() const {
  // One vector more, which the last run of pixels may spill into.
  const Tiling& tiling = matrix_->tiling();
  return int64_t{tiling.depth} * tiling.most * kPlaneAlign + kPlaneAlign;
}

int64_t Convolution::scratch_bytes(const std::vector<Shape>& inputs) const {
  const bool single = output_shape(inputs).pixels() == 1;
  return (single ? matrix_->depth() + 2 * kPlaneAlign : panel_floats()) * int64_t{sizeof(float)};
}

void Convolution::run(const Context& context) const {
  if (context.output.shape.pixels() == 1) return run_single_pixel(context);
  const Value& input = context.inputs[0];
  const Window window = size_.window.bind(input.shape, context.output.shape);
  share_tiles(context, *matrix_, context.kernels.f32.lanes, [&](const TilePart& part, int worker) {
    run_part(context, planes_of(input), window, context.scratch<float>(worker), part);
  });
}

void Convolution::run_part(const Context& context, const Planes& input, const Window& window, float* panel,
                           const TilePart& part) const {
  Tile tile{};
  tile.output = context.output.floats() + part.to;
  tile.output_pitch = static_cast<ptrdiff_t>(context.output.pitch());
  tile.vectors = part.vectors;
  tile.low = activation_.is_clamp() ? activation_.a : -INFINITY;
  tile.high = activation_.is_clamp() ? activation_.b : INFINITY;
  for (int32_t block = 0; block < matrix_->blocks(); ++block) {
    make_panel(context, input, window, panel, block, part.pixel, &tile);
    for (int32_t slice = part.first_slice; slice < part.last_slice; ++slice)
      matrix_->multiply(context.kernels.f32, block, slice, tile);
  }
  if (!activation_.is_clamp()) activate_rows(context, tile, part);
}

void Convolution::make_panel(const Context& context, const Planes& input, const Window& window, float* panel,
                             int32_t block, int64_t pixel, Tile* tile) const {
  if (size_.reads_in_place(*matrix_, {size_.channels, window.height, window.width})) {
    tile->panel = input.data + pixel;
    tile->panel_pitch = input.pitch;
    return;
  }
  const KernelTable& kernels = context.kernels.f32;
  kernels.pack({input, window, matrix_->block_begin(block), matrix_->block_end(block), pixel, tile->vectors, panel});
  tile->panel = panel;
  tile->panel_pitch = static_cast<ptrdiff_t>(tile->vectors) * kernels.lanes;
}

void Convolution::activate_rows(const Context& context, const Tile& tile, const TilePart& part) const {
  const KernelTable& kernels = context.kernels.f32;
  const int32_t last = matrix_->slice_end(part.last_slice - 1);
  for (int32_t row = matrix_->slice_begin(part.first_slice); row < last; ++row) {
    float* const values = tile.output + row * tile.output_pitch;
    kernels.activate(activation_, values, values, int64_t{tile.vectors} * kernels.lanes);
  }
}

void Convolution::run_single_pixel(const Context& context) const {
  const KernelTable& kernels = context.kernels.f32;
  const float* const input = single_pixel_input(context);
  float* const output = context.output.floats();
  context.share(matrix_->slices(), [&](int64_t task, int) {
    const auto slice = static_cast<int32_t>(task);
    matrix_->multiply_vector(kernels, slice, input, output);
    const int32_t first = matrix_->slice_begin(slice);
    if (!activation_.is_none())
      kernels.activate(activation_, output + first, output + first, matrix_->slice_end(slice) - first);
  });
}

// The one column of the panel; worker 0's scratch is free until tasks are shared out.
const float* Convolution::single_pixel_input(const Context& context) const {
  const Value& input = context.inputs[0];
  const WindowSize& window = size_.window;
  if (input.shape.pixels() == 1 && window.is_single_pixel() && !window.is_padded()) return input.floats();
  float* to = context.scratch<float>(0);
  for (int64_t channel = 0; channel < size_.channels; ++channel)
    for (int32_t ky = 0; ky < window.kernel[0]; ++ky)
      for (int32_t kx = 0; kx < window.kernel[1]; ++kx) {
        const int64_t pixel = window.pixel_under(ky, kx, input.shape);
        *to++ = pixel >= 0 ? input.channel(channel)[pixel] : 0.0f;
      }
  return context.scratch<float>(0);
}

std::unique_ptr<Operation> make_convolution(const Node& node) { return convolution_of<Convolution>(node); }

}  // namespace paddle_unstructured::f32
