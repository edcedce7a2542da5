// SPDX-License-Identifier: Apache-2.0
// How windows meet planes, for kernels of every number format.
#pragma once

#include "../planes.h"
#include "vector.h"

namespace paddle_unstructured {
namespace {

// ---- the panel of a convolution -----------------------------------------------------------------------------------

struct Run {  // consecutive output pixels of one output row
  int32_t row, column, length;
};

// Every output pixel is the input pixel at the same place.
PU_INLINE bool is_plain(const Window& w) {
  return w.kernel_height == 1 && w.kernel_width == 1 && w.stride_height == 1 && w.stride_width == 1 && w.pad_top == 0 &&
         w.pad_left == 0 && w.height == w.output_height && w.width == w.output_width && (w.height > 1 || w.width > 1);
}

// Calls copy(run, to) for each run of output pixels [pixel, pixel + pixels). Runs are copied in whole vectors, in
// order: the next run overwrites the surplus of the last.
template <typename Pixel, typename Copy>
PU_INLINE void for_each_run(const Window& w, int64_t pixel, int32_t pixels, Pixel* to, const Copy& copy) {
  Run run{static_cast<int32_t>(pixel / w.output_width), static_cast<int32_t>(pixel % w.output_width), 0};
  for (int32_t left = pixels; left > 0; run = {run.row + 1, 0, 0}) {
    run.length = least(left, w.output_width - run.column);
    copy(run, to);
    to += run.length;
    left -= run.length;
  }
}

// ---- depthwise convolutions ---------------------------------------------------------------------------------------

// Whether it is kernel x kernel with one stride for both axes, without dilation.
PU_INLINE bool is_square(const Window& w, int32_t kernel) {
  return w.kernel_height == kernel && w.kernel_width == kernel && w.stride_height == w.stride_width &&
         w.dilation_height == 1 && w.dilation_width == 1;
}

// ---- pooling ------------------------------------------------------------------------------------------------------

struct Reach {  // of the window of one output pixel, inside the plane
  int32_t top, bottom, left, right;
};

PU_INLINE Reach reach_of(const Window& w, int32_t row, int32_t column) {
  const int32_t y = row * w.stride_height - w.pad_top, x = column * w.stride_width - w.pad_left;
  return {most(y, 0), least(y + w.kernel_height, w.height), most(x, 0), least(x + w.kernel_width, w.width)};
}

// What a mean divides by. Like Paddle's, one over padding counts the padding, but not what a ceiled output reaches
// beyond it.
PU_INLINE int32_t pixels_counted(const Window& w, bool exclusive, int32_t row, int32_t column, const Reach& reach) {
  if (exclusive) return (reach.bottom - reach.top) * (reach.right - reach.left);
  const int32_t y = row * w.stride_height - w.pad_top, x = column * w.stride_width - w.pad_left;
  return (least(y + w.kernel_height, w.height + w.pad_top) - y) * (least(x + w.kernel_width, w.width + w.pad_left) - x);
}

// Calls vector(column) for whole vectors of outputs whose windows stay inside the plane's columns, from `column` on
// (stride 1 or 2); returns the first column that is left.
template <typename Function>
PU_INLINE int32_t for_vectors_inside(const Window& w, int32_t column, const Function& vector) {
  for (; column + kLanes <= w.output_width; column += kLanes) {
    const int32_t x = column * w.stride_width - w.pad_left;
    if (x < 0 || x + (kLanes - 1) * w.stride_width + w.kernel_width > w.width) break;
    vector(column);
  }
  return column;
}

}  // namespace
}  // namespace paddle_unstructured
