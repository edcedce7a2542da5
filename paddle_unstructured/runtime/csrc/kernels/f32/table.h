// SPDX-License-Identifier: Apache-2.0
// The kernels for float32: what each one is told, and the table that holds them.
#pragma once

#include "../depthwise.h"

namespace paddle_unstructured::f32 {

struct Planes {  // of the input
  const float* data;
  ptrdiff_t pitch;  // floats between channels
};

// Columns [0, columns) of K-block rows: panel[k * panel_pitch + pixel], 64-byte aligned, `vectors` vectors of pixels.
struct Tile {
  const float* panel;
  ptrdiff_t panel_pitch;
  float* output;           // of output row 0, at the tile's first pixel
  ptrdiff_t output_pitch;  // between output rows
  int32_t vectors;
  const float* bias;  // one per output row
  bool first;         // start from the bias; otherwise from what the output holds
  bool last;          // clamp what is stored
  float low, high;
};

// Rows of one K block, sorted by how many entries they have: entries [start[i], start[i+1]) belong to row block row[i].
// `row` counts blocks of M outputs; `column` counts panel rows; an entry has M values.
struct SparseRows {
  const int32_t* start;
  const int32_t* row;
  int32_t count;
  const uint16_t* column;
  const float* value;
};

// Rows of one K block of single weights, two at a time. A pair has three counts of entries: those of both rows, with
// two values each, of the first row alone and of the second; the last of an odd number of rows has one count.
struct PairedRows {
  const int32_t* row;
  const int32_t* counts;
  int32_t rows;
  const uint16_t* column;  // of all entries, pair by pair
  const float* value;
};

// Groups of kGroup outputs: value[(group * depth + k) * kGroup + output]; the last group is filled with zeros.
struct DenseRows {
  const float* value;
  int32_t depth;          // panel rows
  int32_t first_row;      // of the outputs, a multiple of kGroup
  int32_t last_row;       // one past
  ptrdiff_t group_pitch;  // floats between groups
};

struct SparseVector {  // the same for a single pixel, whose panel is a plain vector
  SparseRows rows;
  const float* input;
  const float* bias;
  float* output;
  bool first;
};

struct PairedVector {
  PairedRows rows;
  const float* input;
  const float* bias;
  float* output;
  bool first;
};

struct DenseVector {
  DenseRows rows;
  const float* input;
  const float* bias;
  float* output;
};

// Panel rows [first, last) of the window, pixels [pixel, pixel + vectors * lanes) of the output plane. Rows of the
// panel are (channel, kernel row, kernel column) in that order.
struct Pack {
  Planes input;
  Window window;
  int32_t first, last;
  int64_t pixel;
  int32_t vectors;
  float* panel;  // pitch: vectors * lanes
};

struct Pool {  // channels [first, last)
  Planes input;
  Window window;
  float* output;
  ptrdiff_t output_pitch;
  int32_t first, last;
  bool maximum;
  bool exclusive;  // the mean counts pixels of the plane alone
};

// Of two numbers; the order is that of the table of functions in elementwise.inl.
// Comparisons make 1 or 0. kKeep: a != 0 ? b : 0.  kDrop: a == 0 ? b : 0.
// kFirst: a, whatever b is.
enum class Pair : int32_t {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kMaximum,
  kMinimum,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kKeep,
  kDrop,
  kFirst
};

// Whose first number stands for all.
enum class Repeated : int32_t { kNone, kFirst, kSecond };

// Over the channels [0, channels) of some pixels: planes are `pitch` floats apart on both sides.
struct OverChannels {
  const float* input;
  float* output;
  ptrdiff_t input_pitch, output_pitch;
  int64_t channels, pixels;
  bool log;  // of the softmax
};

struct Norm {  // of each pixel over its channels
  const float* input;
  ptrdiff_t input_pitch;
  float* output;
  ptrdiff_t output_pitch;
  int32_t channels;
  int64_t pixels;
  const float* scale;  // one per channel
  const float* shift;
  float epsilon;
  bool center;  // else the mean is taken as zero
};

struct SoftmaxRows {  // of each pixel over rows
  const float* input;
  ptrdiff_t input_pitch;
  float* output;
  ptrdiff_t output_pitch;
  int32_t rows;
  int64_t pixels;
  float factor;            // of the input, before anything is added
  const float* row_shift;  // added, one per row; may be null
  const float* added[2];   // added, as planes; may be null
  ptrdiff_t added_pitch[2];
  int64_t last_row;  // pixel i sees rows up to i + last_row
  float* inverse;    // of the sum of the output, which is left undivided; one per pixel
};

// output[row][pixel] = factors[pixel] * sum over k < depth of a[row * a_row + k * a_depth] * b[k][pixel]
struct Product {
  const float* a;
  ptrdiff_t a_row, a_depth;
  const float* b;
  ptrdiff_t b_pitch;
  float* output;
  ptrdiff_t output_pitch;
  int32_t rows, depth;
  int64_t pixels;
  const float* factors;  // null: one
  bool adds;             // to what the output holds
};

// One step; gates and product are [gates][hidden], in the order of the file that uses them.
struct RecurrentStep {
  const float* gates;    // what the input adds to them
  const float* product;  // what the last state does
  float* cell;           // of an LSTM
  float* state;
  int64_t hidden;
};

struct KernelTable {
  const char* name;
  int32_t lanes;              // floats of what counts as a vector of a tile: of one, or of four (NEON)
  int32_t sparse_vectors[3];  // most vectors of a tile, for blocks of 1, 2 and 4 outputs
  int32_t paired_vectors;     // of a tile of paired rows; 0: rows are not paired
  int32_t dense_vectors;

  void (*sparse[3])(const SparseRows& rows, const Tile& tile);  // blocks of 1, 2, 4 outputs
  void (*sparse_vector[3])(const SparseVector& task);
  void (*paired)(const PairedRows& rows, const Tile& tile);
  void (*paired_vector)(const PairedVector& task);
  void (*dense)(const DenseRows& rows, const Tile& tile);
  void (*dense_vector)(const DenseVector& task);
  void (*pack)(const Pack& task);
  void (*depthwise)(const Depthwise& task);
  void (*pool)(const Pool& task);
  float (*sum)(const float* values, int64_t count);
  void (*activate)(const Activation& activation, const float* input, float* output, int64_t count);
  void (*pair)(Pair function, Repeated repeated, const float* a, const float* b, float* output, int64_t count);
  // All numbers of a run in one; `count` is at least 1.
  float (*fold)(Pair function, const float* values, int64_t count);
  void (*scale_shift)(const float* input, float scale, float shift, float* output, int64_t count);
  void (*prelu)(const float* input, float slope, float* output, int64_t count);
  // output[i] = sum of weights[tap] * rows[tap][i]; and of weights[tap][i] * row[places[tap][i]], [taps][count].
  void (*weigh)(const float* const* rows, const float* weights, int32_t taps, float* output, int64_t count);
  void (*weigh_places)(const float* row, const int32_t* places, const float* weights, int32_t taps, float* output,
                       int64_t count);
  void (*softmax)(const float* input, float* output, int64_t count, bool log);
  void (*softmax_channels)(const OverChannels& task);
  void (*arg_channels)(const OverChannels& task, bool maximum);  // the number of the channel, as a float
  void (*softmax_rows)(const SoftmaxRows& task);
  void (*norm)(const Norm& task);
  float (*sum_of_squares)(const float* values, float middle, int64_t count);  // of their distances from `middle`
  void (*product)(const Product& task);
  // to[column][row] = from[row][column]
  void (*transpose)(const float* from, ptrdiff_t from_pitch, float* to, ptrdiff_t to_pitch, int64_t rows,
                    int64_t columns);
  void (*lstm)(const RecurrentStep& task);
  void (*gru)(const RecurrentStep& task);
};

extern const KernelTable kAvx512;
extern const KernelTable kAvx2;
extern const KernelTable kNeon;
extern const KernelTable kPortable;

}  // namespace paddle_unstructured::f32
