// SPDX-License-Identifier: Apache-2.0
// The kernels for bfloat16: what each one is told, and the table that holds them. planes.h says how the numbers lie.
//
// Bit for bit the same result from every instruction set, NaNs apart (which one it is depends on the processor): a tile
// product is what TDPBF16PS makes of 16 outputs and 16 panel rows, two channels to a row,
//
//   even = odd = 0
//   for each panel row k: even = fma(w[k].low, x[k].low, even), odd = fma(w[k].high, x[k].high, odd)
//   sum = sum + (even + odd)
//
// in float32, rounded to the nearest even; and whatever is below 2^-126 is a zero of its sign, before and after.
#pragma once

#include "../depthwise.h"
#include "../tiles.h"
#include "../words.h"

namespace paddle_unstructured::bf16 {

// Outputs become clamp(sum + bias + added, low, high).
struct Tile {
  const uint8_t* panel;  // panel + k * panel_pitch + pixel * 4, on 64 bytes: words of two channels
  ptrdiff_t panel_pitch;
  const float* bias;
  float low, high;
  int32_t vectors;
  int32_t outputs;         // that exist; float32 has no room for others
  uint8_t* output;         // of output row 0, at the tile's first pixel
  ptrdiff_t output_pitch;  // bytes between pairs of outputs; or, where they become float32, between outputs
  bool real;               // float32
  const uint8_t* added;    // words that lie as the output's would; null: nothing
  ptrdiff_t added_pitch;
};

struct Pool {  // pairs [first, last); maxima, of stride 1 or 2
  words::Planes input;
  Window window;
  uint8_t* output;
  ptrdiff_t output_pitch;
  int32_t first, last;
  int32_t channels;
};

struct KernelTable {
  const char* name;
  int32_t lanes;  // pixels of a vector
  void (*multiply)(const TileRows& rows, const Tile& tile);
  void (*split)(const words::Split& task);
  void (*pack)(const words::Pack& task);
  void (*depthwise)(const Depthwise& task);  // weights are bfloat16 numbers; a channel that is not there has zeros
  void (*pool)(const Pool& task);
  // Two planes of float32 to one of words, and one channel of words (0 or 1) to float32. Planes of whole vectors.
  void (*round)(const float* low, const float* high, uint8_t* words, int64_t count);  // high null: zeros
  void (*widen)(const uint8_t* words, int32_t channel, float* output, int64_t count);
};

extern const KernelTable kAmx;  // with AVX512-BF16
extern const KernelTable kAvx512;
extern const KernelTable kAvx2;
extern const KernelTable kPortable;

}  // namespace paddle_unstructured::bf16
