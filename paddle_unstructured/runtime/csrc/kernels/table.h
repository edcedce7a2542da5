// The kernel interface: plain arguments in, no allocation, no threads, no errors.
//
// One table per instruction set; `select_kernels` (dispatch.h) picks one at run time. Everything a kernel trusts
// (indices, sizes, alignment) was checked by the engine when the model was loaded. A path for another number format
// adds its own pair of `pack` and multiply functions here; nothing else has to know.
//
// Planes. An activation is [channels][pitch] floats: height*width pixels, rounded up to 16 (`plane_pitch`), so that
// kernels run over whole vectors; a 1x1 plane has pitch 1 and is a plain vector. What lies in the padding is
// unspecified. Buffers start on 64 bytes, and kGuard floats before and after each may be read (never used).
#pragma once

#include <cstddef>
#include <cstdint>

namespace paddle_unstructured {

constexpr int kPlaneAlign = 16;  // floats: the widest vector
constexpr int kGuard = 256;      // floats around each buffer that a kernel may read
constexpr int kDenseRows = 4;    // outputs that the dense kernels compute together

constexpr int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

constexpr int64_t plane_pitch(int64_t pixels) { return pixels == 1 ? 1 : round_up(pixels, kPlaneAlign); }

enum class ActivationKind : int32_t { kClamp, kHardSigmoid, kHardSwish, kSigmoid, kSwish, kLeakyRelu, kTanh, kGelu };

// kClamp: min(max(x, a), b), which is ReLU, ReLU6 and no activation at all (-inf, inf).
// kHardSigmoid: min(max(a*x + b, 0), 1).  kHardSwish: x * min(max(x + 3, 0), 6) / 6.
// kSigmoid: 1 / (1 + exp(-x)).  kSwish: x * sigmoid(x).  kLeakyRelu: x < 0 ? a*x : x.  kGelu: x * Phi(x), by erf.
struct Activation {
  ActivationKind kind;
  float a;
  float b;

  bool is_clamp() const { return kind == ActivationKind::kClamp; }
  bool is_none() const { return is_clamp() && a == -__builtin_inff() && b == __builtin_inff(); }
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

// Groups of kDenseRows outputs: value[(group * depth + k) * kDenseRows + output]; the last group is filled with zeros.
struct DenseRows {
  const float* value;
  int32_t depth;        // panel rows
  int32_t first_row;    // of the outputs, a multiple of kDenseRows
  int32_t last_row;     // one past
  ptrdiff_t group_pitch;  // floats between groups
};

struct SparseVector {  // the same for a single pixel, whose panel is a plain vector
  SparseRows rows;
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

// What a convolution reads: rows of the panel are (channel, kernel row, kernel column) in that order.
struct Window {
  const float* input;
  ptrdiff_t pitch;
  int32_t height, width;
  int32_t output_height, output_width;
  int32_t kernel_height, kernel_width;
  int32_t stride_height, stride_width;
  int32_t pad_top, pad_left;
  int32_t dilation_height, dilation_width;
};

struct Pack {  // panel rows [first, last) of the window, pixels [pixel, pixel + vectors * lanes) of the output plane
  Window window;
  int32_t first, last;
  int64_t pixel;
  int32_t vectors;
  float* panel;  // pitch: vectors * lanes
};

struct Depthwise {  // channels [first, last), one filter each; dilation 1, kernel 3x3 or 5x5, stride 1 or 2
  Window window;
  int32_t first_row, last_row;  // of the output
  float* output;                // of first_row
  ptrdiff_t output_pitch;
  const float* weight;
  const float* bias;
  int32_t first, last;
  float low, high;
};

struct Pool {
  Window window;
  float* output;
  ptrdiff_t output_pitch;
  int32_t first, last;
  bool maximum;
  bool exclusive;  // the mean counts pixels of the plane alone
};

struct KernelTable {
  const char* name;
  int32_t lanes;
  int32_t sparse_vectors[3];  // most vectors of a tile, for blocks of 1, 2 and 4 outputs
  int32_t dense_vectors;

  void (*sparse[3])(const SparseRows& rows, const Tile& tile);          // blocks of 1, 2, 4 outputs
  void (*sparse_vector[3])(const SparseVector& task);
  void (*dense)(const DenseRows& rows, const Tile& tile);
  void (*dense_vector)(const DenseVector& task);
  void (*pack)(const Pack& task);
  void (*depthwise)(const Depthwise& task);
  void (*pool)(const Pool& task);
  float (*sum)(const float* values, int64_t count);
  void (*activate)(const Activation& activation, const float* input, float* output, int64_t count);
  void (*add)(const float* a, const float* b, float* output, int64_t count);
  void (*multiply)(const float* a, const float* b, float* output, int64_t count);
  void (*scale_shift)(const float* input, float scale, float shift, float* output, int64_t count);
  void (*softmax)(const float* input, float* output, int64_t count);
};

extern const KernelTable kAvx512Kernels;
extern const KernelTable kAvx2Kernels;
extern const KernelTable kPortableKernels;

}  // namespace paddle_unstructured
