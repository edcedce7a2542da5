// SPDX-License-Identifier: Apache-2.0
// The kernels for int8: what each one is told, and the table that holds them. planes.h says how the bytes lie.
//
// real = scale * (q - zero), q in [0, 255]. Weights of channels that do not exist are 0.
//
// Numbers that become bytes must stay below 2^31 (the portable kernels take any), because their conversion does not
// saturate; the engine sees to that.
//
// Where a table has a `shift`, its kernels with weights multiply q - shift, which is a signed byte: `pack` writes
// panels of such bytes, so that no panel is read in place, and shift * sum of weights is added to the biases that they
// are given. Then the sums are the same.
//
// Bit for bit the same result from every instruction set: sums are int32, fused multiply-adds are written out, and
// rounding is to the nearest even.
#pragma once

#include "../tiles.h"
#include "../words.h"

namespace paddle_unstructured::int8 {

using words::kMostTaps;
using words::Pack;
using words::Planes;
using words::Split;

constexpr int kVectorStep = 16;  // bytes that the functions over plain runs take together, at least

// From a sum to a byte: rint(fma(sum, scale, zero)), saturated to [low, high]. Where another value is added, its byte
// joins the zero point: rint(fma(sum, scale, fma(byte, added_scale, zero))). With a hard-swish all that gives a real
// number x, which becomes rint(fma(x * h, swish, swish_zero)), h = min(x + 3, 6), x at least -3: it is rounded once.
struct Requantization {
  const float* scale;  // one per output row
  float zero;
  int32_t low, high;
  const uint8_t* added = nullptr;  // bytes that lie as those of the output do; null: none
  float added_scale = 0;
  float swish = 0;  // 1 / (6 * scale of the output); 0: no hard-swish
  float swish_zero = 0;
};

// Panel rows are groups: panel + k * panel_pitch + pixel * 4, on 64 bytes. Output rows are computed four by four.
struct Tile {
  const uint8_t* panel;
  ptrdiff_t panel_pitch;  // bytes
  int32_t* sums;          // [output rows][vectors * lanes]: between the blocks of the depth, or for `real_rows`
  const int32_t* bias;
  uint8_t* output;         // of the group of output row 0, at the tile's first pixel
  ptrdiff_t output_pitch;  // bytes between groups
  int32_t vectors;
  bool first;  // start from the bias; otherwise from the sums
  bool last;   // finish as bytes; otherwise store the sums
  Requantization finish;
};

// Row block i of [first, last), of M outputs each, has entries [start[i], start[i+1]): a panel row and M words of four
// weights. first * M and last * M are multiples of 4.
struct SparseRows {
  const int32_t* start;
  int32_t first, last;
  const uint16_t* column;
  const int32_t* value;
};

// Single rows two at a time: pair i of [first, last) has entries of both rows from start[3 * i] on, of the first row
// from start[3 * i + 1], of the second from start[3 * i + 2]. Those of both have two words, and word[i] is the pair's
// first.
struct PairedRows {
  const int32_t* start;
  const int32_t* word;
  int32_t first, last;  // multiples of 2
  const uint16_t* column;
  const int32_t* value;
};

// value[(group * depth + k) * 4 + output]: a word of four weights; the last group is filled with zeros.
struct DenseRows {
  const int32_t* value;
  int32_t depth;                // panel rows
  int32_t first_row, last_row;  // multiples of 4
  ptrdiff_t group_pitch;        // words between groups
};

struct SparseVector {  // a single pixel; `output` has room for whole groups of rows
  SparseRows rows;
  const uint8_t* input;
  const int32_t* bias;
  int32_t* output;
  bool first;
};

struct PairedVector {
  PairedRows rows;
  const uint8_t* input;
  const int32_t* bias;
  int32_t* output;
  bool first;
};

struct DenseVector {
  DenseRows rows;
  const uint8_t* input;
  const int32_t* bias;
  int32_t* output;
};

struct TileVector {
  TileRows rows;
  const uint8_t* input;
  const int32_t* bias;
  int32_t* output;
};

// A row of a depthwise filter lies in words of four neighbouring taps, or of one if the columns are dilated.
inline int32_t depthwise_step(int32_t dilation) { return dilation == 1 ? 4 : dilation; }
inline int32_t depthwise_words(int32_t kernel, int32_t dilation) { return dilation == 1 ? (kernel + 3) / 4 : kernel; }

struct Depthwise {  // groups [first, last); columns have stride 1 or 2
  Planes input;
  Window window;
  uint8_t* output;
  ptrdiff_t output_pitch;  // bytes between groups
  const int32_t* weight;   // [groups][kernel rows][depthwise_words][4 channels]
  const int32_t* bias;     // [groups][4]
  int32_t first, last;
  uint8_t zero;  // stands beyond the edge
  Requantization finish;
};

struct Pool {  // groups [first, last)
  Planes input;
  Window window;
  uint8_t* output;
  ptrdiff_t output_pitch;
  int32_t first, last;
  bool maximum;
  bool exclusive;
  int32_t input_zero;
  double input_scale, output_scale;  // of a mean, as the next one
  float zero;
};

struct Add {  // rint(fma(a, by_a, fma(b, by_b, offset))), saturated to [low, high]
  float by_a, by_b, offset;
  int32_t low, high;
};

struct Multiply {  // rint(fma((a - zero_a) * (b - zero_b), scale, zero)), saturated to [low, high]
  int32_t zero_a, zero_b;
  float scale, zero;
  int32_t low, high;
};

constexpr int32_t kBlendUnit = 2048;  // weights between two rows, or two columns, add up to it

// A row of outputs between two rows and between the columns of these, of one group: rint(fma(sum - center, scale,
// zero)), saturated to a byte. Bytes and sums beyond their ends are touched by up to kVectorStep - 1.
struct Blend {
  const uint8_t* rows[2];
  int32_t row_weights[2];
  int64_t width;           // pixels of these rows
  const int32_t* places;   // [left, right][output width]: columns
  const int32_t* weights;  // alike
  int64_t output_width;
  int32_t* sums;  // room for both widths, four sums to a pixel, and 2 * kVectorStep
  int32_t center;
  float scale, zero;
  uint8_t* output;
};

// Kernels for processors that multiply whole matrices at once (tiles.h).
struct TileTable {
  void (*multiply)(const TileRows& rows, const Tile& tile);
  void (*multiply_vector)(const TileVector& task);
};

extern const TileTable kAmxTiles;
extern const TileTable kPlainTiles;  // the same algorithm and bits on any processor

struct KernelTable {
  const char* name;
  const TileTable* tiles;     // null: there are none
  bool only_tiles;            // for tests: whatever tiles can run
  int32_t shift;              // 0; or 128, where the processor multiplies signed bytes with each other
  int32_t lanes;              // pixels of what counts as a vector of a tile: of one, or of four (NEON)
  int32_t sparse_vectors[3];  // most vectors of a tile, for blocks of 1, 2 and 4 outputs
  int32_t paired_vectors;     // of a tile of paired rows; 0: rows are not paired
  int32_t dense_vectors;

  void (*sparse[3])(const SparseRows& rows, const Tile& tile);
  void (*sparse_vector[3])(const SparseVector& task);
  void (*paired)(const PairedRows& rows, const Tile& tile);
  void (*paired_vector)(const PairedVector& task);
  void (*dense)(const DenseRows& rows, const Tile& tile);
  void (*dense_vector)(const DenseVector& task);
  void (*split)(const Split& task);
  void (*pack)(const Pack& task);
  void (*depthwise)(const Depthwise& task);
  void (*pool)(const Pool& task);
  // Counts below are of bytes (of sums, where these are the input), and may be passed by up to kVectorStep - 1.
  void (*requantize)(const int32_t* sums, const Requantization& finish, uint8_t* output, int64_t count);
  // clamp(float(sum) * scale, low, high): of one row with one scale, or each sum with a scale of its own.
  void (*real_row)(const int32_t* sums, float scale, float low, float high, float* output, int64_t count);
  void (*real_vector)(const int32_t* sums, const float* scale, float low, float high, float* output, int64_t count);
  // Four planes of floats to a group and back; or plain runs, where `planes` has one. A NaN becomes the zero point;
  // true if there is one among the first `count` numbers of a plane (which is `pitch` long) or run.
  bool (*quantize_group)(const float* const planes[4], float inverse, float zero, uint8_t* output, int64_t pitch,
                         int64_t count);
  bool (*quantize)(const float* input, float inverse, float zero, uint8_t* output, int64_t count);
  void (*dequantize_plane)(const uint8_t* group, int32_t channel, float scale, int32_t zero, float* output,
                           int64_t pixels);
  void (*dequantize)(const uint8_t* input, float scale, int32_t zero, float* output, int64_t count);
  void (*add)(const Add& task, const uint8_t* a, const uint8_t* b, uint8_t* output, int64_t count);
  void (*multiply)(const Multiply& task, const uint8_t* a, const uint8_t* b, uint8_t* output, int64_t count);
  // b is the four bytes of a single pixel.
  void (*multiply_group)(const Multiply& task, const uint8_t* a, const uint8_t* b, uint8_t* output, int64_t count);
  void (*lookup)(const uint8_t* table, const uint8_t* input, uint8_t* output, int64_t count);
  void (*sum)(const uint8_t* group, int64_t pixels, int32_t* sums);  // of each of the four channels
  void (*blend)(const Blend& task);
};

extern const KernelTable kAvx512Vbmi;  // with AVX512-VNNI and AVX512-VBMI
extern const KernelTable kAvx512Vnni;
extern const KernelTable kAvxVnni;
extern const KernelTable kAvx2;
extern const KernelTable kNeonI8mm;
extern const KernelTable kNeonDotprod;
extern const KernelTable kNeon;
extern const KernelTable kPortable;

}  // namespace paddle_unstructured::int8
