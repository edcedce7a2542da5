// The kernels for bytes: a table of their own beside `KernelTable`, chosen at run time in the same way.
//
// Planes of bytes. Four neighbouring channels lie together: [ceil(channels / 4)][pitch][4], the pitch as for floats, so
// that a group of four channels takes the room of one plane of floats, and a pixel of a group that of one float.
// real = scale * (q - zero). What lies in the lanes of channels that do not exist is unspecified; their weights are 0.
//
// Numbers that become bytes must stay below 2^31 (the portable kernels take any), because their conversion does not
// saturate; the engine sees to that.
//
// Bit for bit the same result from every instruction set: sums are int32, fused multiply-adds are written out, and
// rounding is to the nearest even.
#pragma once

#include "table.h"

namespace paddle_unstructured {

constexpr int kGroup = 4;        // channels that lie together
constexpr int kVectorStep = 16;  // bytes that the functions over plain runs take together, at least

// From a sum to a byte: rint(fma(sum, scale, zero)), saturated to [low, high].
struct Requantization {
  const float* scale;  // one per output row
  float zero;
  int32_t low, high;
};

// Panel rows are groups: panel + k * panel_pitch + pixel * 4, on 64 bytes. Output rows are computed four by four.
struct Tile8 {
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
struct SparseRows8 {
  const int32_t* start;
  int32_t first, last;
  const uint16_t* column;
  const int32_t* value;
};

// value[(group * depth + k) * 4 + output]: a word of four weights; the last group is filled with zeros.
struct DenseRows8 {
  const int32_t* value;
  int32_t depth;              // panel rows
  int32_t first_row, last_row;  // multiples of 4
  ptrdiff_t group_pitch;      // words between groups
};

struct SparseVector8 {  // a single pixel; `output` has room for whole groups of rows
  SparseRows8 rows;
  const uint8_t* input;
  const int32_t* bias;
  int32_t* output;
  bool first;
};

struct DenseVector8 {
  DenseRows8 rows;
  const uint8_t* input;
  const int32_t* bias;
  int32_t* output;
};

// Rows [first, last) of the panel are (kernel row, kernel column, group) in that order. Here a "float" of the window is
// the four bytes of a pixel.
struct Pack8 {
  Window window;
  int32_t groups;
  int32_t first, last;
  int64_t pixel;
  int32_t vectors;
  uint8_t* panel;
  uint8_t zero;  // stands beyond the edge
};

// Groups [first, last); dilation 1, kernel 3x3 or 5x5, stride 1 or 2.
struct Depthwise8 {
  Window window;
  uint8_t* output;
  ptrdiff_t output_pitch;  // bytes between groups
  const int32_t* weight;   // [groups][kernel rows][ceil(kernel / 4)][4 channels]: words of four neighbouring taps
  const int32_t* bias;     // [groups][4]
  int32_t first, last;
  uint8_t zero;            // stands beyond the edge
  Requantization finish;
};

struct Pool8 {  // groups [first, last)
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

struct Addition8 {  // rint(fma(a, by_a, fma(b, by_b, offset))), saturated to [low, high]
  float by_a, by_b, offset;
  int32_t low, high;
};

struct Multiplication8 {  // rint(fma((a - zero_a) * (b - zero_b), scale, zero)), saturated to [low, high]
  int32_t zero_a, zero_b;
  float scale, zero;
  int32_t low, high;
};

struct KernelTable8 {
  const char* name;
  int32_t lanes;              // pixels of a vector
  int32_t sparse_vectors[3];  // most vectors of a tile, for blocks of 1, 2 and 4 outputs
  int32_t dense_vectors;

  void (*sparse[3])(const SparseRows8& rows, const Tile8& tile);
  void (*sparse_vector[3])(const SparseVector8& task);
  void (*dense)(const DenseRows8& rows, const Tile8& tile);
  void (*dense_vector)(const DenseVector8& task);
  void (*pack)(const Pack8& task);
  void (*depthwise)(const Depthwise8& task);
  void (*pool)(const Pool8& task);
  // Counts below are of bytes (of sums, where these are the input), and may be passed by up to kVectorStep - 1.
  void (*requantize)(const int32_t* sums, const Requantization& finish, uint8_t* output, int64_t count);
  // clamp(float(sum) * scale, low, high): of one row with one scale, or each sum with a scale of its own.
  void (*real_row)(const int32_t* sums, float scale, float low, float high, float* output, int64_t count);
  void (*real_vector)(const int32_t* sums, const float* scale, float low, float high, float* output, int64_t count);
  // Four planes of floats to a group and back; or plain runs, where `planes` has one.
  void (*quantize_group)(const float* const planes[4], float inverse, float zero, uint8_t* output, int64_t pixels);
  void (*quantize)(const float* input, float inverse, float zero, uint8_t* output, int64_t count);
  void (*dequantize_plane)(const uint8_t* group, int32_t channel, float scale, int32_t zero, float* output,
                           int64_t pixels);
  void (*dequantize)(const uint8_t* input, float scale, int32_t zero, float* output, int64_t count);
  void (*add)(const Addition8& task, const uint8_t* a, const uint8_t* b, uint8_t* output, int64_t count);
  void (*multiply)(const Multiplication8& task, const uint8_t* a, const uint8_t* b, uint8_t* output, int64_t count);
  // b is the four bytes of a single pixel.
  void (*multiply_group)(const Multiplication8& task, const uint8_t* a, const uint8_t* b, uint8_t* output,
                         int64_t count);
  void (*lookup)(const uint8_t* table, const uint8_t* input, uint8_t* output, int64_t count);
  void (*sum)(const uint8_t* group, int64_t pixels, int32_t* sums);  // of each of the four channels
};

extern const KernelTable8 kAvx512VbmiKernels8;  // with AVX512-VNNI and AVX512-VBMI
extern const KernelTable8 kAvx512VnniKernels8;
extern const KernelTable8 kAvxVnniKernels8;
extern const KernelTable8 kAvx2Kernels8;
extern const KernelTable8 kPortableKernels8;

}  // namespace paddle_unstructured
