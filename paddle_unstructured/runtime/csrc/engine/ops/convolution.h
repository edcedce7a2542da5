// SPDX-License-Identifier: Apache-2.0
// What convolutions of every number format share.
#pragma once

#include "../matrix.h"
#include "../operation.h"
#include "../window.h"

namespace paddle_unstructured {

// The words of a convolution of one group, or of a linear layer.
struct ConvolutionSize {
  int32_t outputs, channels;
  WindowSize window;
  bool linear;  // it sees single pixels only

  explicit ConvolutionSize(const Node& node);

  Shape output_shape(const Shape& input) const;
  // 1x1, stride 1, no padding: every output pixel reads the input pixel at its own place.
  bool is_plain() const {
    return window.is_single_pixel() && window.stride[0] == 1 && window.stride[1] == 1 && !window.is_padded();
  }
  // Whether its panel is the input as it lies: it has a single block of the depth, and a plane.
  bool reads_in_place(const MatrixCuts& matrix, const Shape& input) const {
    return matrix.blocks() == 1 && is_plain() && input.pixels() > 1;
  }
};

// The words of a convolution with one filter for each channel, whose columns have stride 1 or 2.
struct DepthwiseSize {
  int32_t channels;
  WindowSize window;

  explicit DepthwiseSize(const Node& node);

  Shape output_shape(const Shape& input) const;
};

// Some vectors of pixels by some slices of the outputs.
struct TilePart {
  int64_t pixel;  // of the window
  int64_t to;     // of the output
  int32_t vectors;
  int32_t first_slice, last_slice;
};

// Calls function(part, worker) for all pixels of the output and all slices.
template <typename Function>
void share_tiles(const Context& context, const MatrixCuts& matrix, int32_t lanes, const Function& function) {
  const int64_t vectors = context.output.pitch() / lanes, tiles = matrix.tiling().tiles(vectors);
  context.share_tiles(tiles, matrix.slices(), [&](int64_t tile, int32_t first_slice, int32_t last_slice, int worker) {
    const int64_t first = vectors * tile / tiles, last = vectors * (tile + 1) / tiles;
    function(TilePart{first * lanes, first * lanes, static_cast<int32_t>(last - first), first_slice, last_slice},
             worker);
  });
}

}  // namespace paddle_unstructured
