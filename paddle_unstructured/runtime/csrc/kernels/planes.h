// SPDX-License-Identifier: Apache-2.0
// What the kernels of every number format share: where the numbers of an activation lie, windows, activations.
//
// The kernel interface is plain arguments in, no allocation, no threads, no errors. Everything a kernel trusts
// (indices, sizes, alignment) was checked by the engine when the model was loaded. There is one table of functions for
// each number format and instruction set (f32/table.h, int8/table.h); `select_kernels` (engine/dispatch.h) picks one of
// each.
//
//   float32, [channels][pitch]:                 int8, [ceil(channels / 4)][pitch][4]:
//
//     channel 0   p0 p1 p2 ... |padding|          channels 0-3   p0:c0 c1 c2 c3  p1:c0 c1 c2 c3 ... |padding|
//     channel 1   p0 p1 p2 ... |padding|          channels 4-7   p0:c4 c5 c6 c7  p1:c4 c5 c6 c7 ... |padding|
//
// A group of four int8 channels takes the room of one float32 channel, and a pixel of a group that of one float32. So
// does a pair of bfloat16 channels, [ceil(channels / 2)][pitch][2]; the second one of the last pair is a number (not
// NaN, not infinite) even where there is no such channel, because a product with a weight of zero has to be zero. The
// pitch is height*width pixels, rounded up to 16, so that kernels run over whole vectors; a 1x1 plane has pitch 1 and
// is a plain vector. What lies in the padding, and in lanes of channels that do not exist, is unspecified. Buffers
// start on 64 bytes, and kGuard pixels before and after each may be read (never used).
#pragma once

#include <cstddef>
#include <cstdint>

namespace paddle_unstructured {

static_assert(sizeof(void*) == 8 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "the kernels are for 64-bit little-endian processors");

constexpr int kPlaneAlign = 16;  // pixels: the widest vector
constexpr int kGuard = 256;      // pixels around each buffer that a kernel may read
constexpr int kGroup = 4;        // output rows that are written together; channels of int8 that lie together

constexpr int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

constexpr int64_t plane_pitch(int64_t pixels) { return pixels == 1 ? 1 : round_up(pixels, kPlaneAlign); }

// Where in the input each output pixel looks.
struct Window {
  int32_t height, width;
  int32_t output_height, output_width;
  int32_t kernel_height, kernel_width;
  int32_t stride_height, stride_width;
  int32_t pad_top, pad_left;
  int32_t dilation_height, dilation_width;
};

enum class ActivationKind : int32_t {
  kClamp,
  kHardSigmoid,
  kHardSwish,
  kSigmoid,
  kSwish,
  kLeakyRelu,
  kTanh,
  kGelu,
  kGeluTanh,
  kLinear,
  kElu,
  kSelu,
  kMish,
  kSoftplus,
  kSoftsign,
  kLogSigmoid,
  kHardShrink,
  kSoftShrink,
  kThresholded,
  kExp,
  kLog,
  kSqrt,
  kRsqrt,
  kSquare,
  kAbs,
  kReciprocal,
  kSin,
  kCos,
  kFloor,
  kCeil,
  kRound,
  kTrunc,
  kSign,
  kPower,
};

// kClamp: min(max(x, a), b), which is ReLU, ReLU6 and no activation at all (-inf, inf).
// kHardSigmoid: min(max(a*x + b, 0), 1).  kHardSwish: x * min(max(x + 3, 0), 6) / 6.
// kSigmoid: 1 / (1 + exp(-x)).  kSwish: x * sigmoid(x).  kLeakyRelu: x < 0 ? a*x : x.  kGelu: x * Phi(x), by erf.
// kGeluTanh: x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))), which others compute in its place.
// kLinear: a*x + b.  kElu: x < 0 ? a * (exp(x/b) - 1) : x.  kSelu: a * (x < 0 ? b * (exp(x) - 1) : x).
// kMish: x * tanh(log(1 + exp(x))).  kSoftplus: a*x > b ? x : log(1 + exp(a*x)) / a.  kSoftsign: x / (1 + |x|).
// kLogSigmoid: log(sigmoid(x)).  kHardShrink: |x| > a ? x : 0.  kSoftShrink: towards 0 by a.
// kThresholded: x > a ? x : b.  kPower: x^a.  The others are what their names say.
struct Activation {
  ActivationKind kind;
  float a;
  float b;

  bool is_clamp() const { return kind == ActivationKind::kClamp; }
  bool is_none() const { return is_clamp() && a == -__builtin_inff() && b == __builtin_inff(); }
};

}  // namespace paddle_unstructured
