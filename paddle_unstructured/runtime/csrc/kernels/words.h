// SPDX-License-Identifier: Apache-2.0
// Panels of words: of a group of four int8 channels, or of a pair of bfloat16 ones. Whatever stands in a word moves as
// a whole.
#pragma once

#include "planes.h"

namespace paddle_unstructured::words {

struct Planes {  // of the input
  const uint8_t* data;
  ptrdiff_t pitch;  // bytes between groups
};

// Taps of a kernel along either axis, so that a split input serves it.
constexpr int kMostTaps = 15;

// Even and odd rows and columns of groups [first, last) apart, for windows of stride 2: what such a window reads
// through one tap lies then side by side. Phase 2 * (odd row) + (odd column) of group g is plane phase * groups + g of
// the output, in rows as wide as the window's outputs.
struct Split {
  Planes input;
  Window window;
  bool rows[2], columns[2];  // whether any tap reads even ones, odd ones
  int32_t groups;
  int32_t first, last;
  uint8_t* output;
  ptrdiff_t output_pitch;  // bytes between planes; room for a vector beyond the last row
};

// Rows [first, last) of the panel are (kernel row, kernel column, group) in that order.
struct Pack {
  Planes input;
  Window window;
  int32_t groups;
  int32_t first, last;
  int64_t pixel;
  int32_t vectors;
  uint8_t* panel;
  uint8_t zero;  // stands beyond the edge
  bool split;    // the input is what `Split` made
};

}  // namespace paddle_unstructured::words
