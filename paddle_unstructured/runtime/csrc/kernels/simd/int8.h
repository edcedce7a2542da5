// SPDX-License-Identifier: Apache-2.0
// Vectors of int8, four bytes to a lane of int32, on top of vector.h. What differs between instruction sets is in the
// four files that are included here; each defines
//
//   Pixels, Weights                 four bytes in each lane, in the form that `dot` wants
//   kShift                          what is taken from each byte of pixels before it is multiplied (table.h): 0 or 128
//   pixels(IntVec), weights(IntVec)  into that form
//   panel_pixels(IntVec)            the same for pixels from which kShift is taken already
//   dot(sums, Pixels, Weights)      sums += the products of four bytes of pixels with four signed ones, exactly
//   Quad, dot4                      the same for the four lanes of a 128-bit vector; the four bytes of x in each
//   fused(a, b, c)                  a * b + c, rounded once
//   quantized(real)                 rounded to the nearest even; what is not in [0, 255] stays outside, or is saturated
//   pair, interleaved               four vectors of integers to bytes: lane i is a[i], b[i], c[i], d[i], saturated
//   in_order(a, b, c, d)            the bytes of a, then those of b, ...
//   at_least, at_most(bytes, bound) the larger, the smaller of each two bytes
//   widened(bytes), narrow          kLanes bytes to integers, and back, between `low` and `high`
//   repeated(from)                  the four integers at `from`, again and again
//
// and for a square of a depthwise convolution, whose pixels are four bytes:
//   square_pixels(kernel, stride)    how many outputs of a row are made together
//   reach_parts(stride, vectors)    in how many vectors lie the pixels that they reach, and how many pixels
//   reach_step(stride)              lie between their beginnings
//   load_inside(from, inside, beyond)  a vector of pixels, or of `beyond` in lanes that are not `inside`
//   taps<Stride>(parts, v)          of vector v of outputs; lane 4*p + c: channel c of four pixels from p * Stride on
//   store_last<Square>(to, bytes)   the first `Square` pixels and nothing else
#pragma once

#include "../int8/table.h"
#include "vector.h"

namespace paddle_unstructured::int8 {
namespace {

PU_INLINE IntVec load_ints(const void* from) {
  IntVec v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

PU_INLINE void store_ints(void* to, IntVec v) { std::memcpy(to, &v, sizeof v); }

PU_INLINE IntVec load_aligned_ints(const void* from) {
  return *static_cast<const IntVec*>(__builtin_assume_aligned(from, sizeof(IntVec)));
}

PU_INLINE void store_aligned_ints(void* to, IntVec v) {
  *static_cast<IntVec*>(__builtin_assume_aligned(to, sizeof(IntVec))) = v;
}

PU_INLINE IntVec broadcast_int(int32_t value) { return value - IntVec{}; }
PU_INLINE Vec floats(IntVec v) { return __builtin_convertvector(v, Vec); }
PU_INLINE int32_t four_times(uint8_t value) { return static_cast<int32_t>(value * 0x01010101u); }

PU_INLINE IntVec byte_of_words(IntVec words, ptrdiff_t which) { return (words >> static_cast<int>(8 * which)) & 255; }

PU_INLINE int32_t word_at(const void* from) {
  int32_t word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

}  // namespace
}  // namespace paddle_unstructured::int8

#if PU_LANES == 16
#include "int8_avx512.h"
#elif PU_LANES == 8
#include "int8_avx2.h"
#elif PU_NEON
#include "int8_neon.h"
#else
#include "int8_portable.h"
#endif

namespace paddle_unstructured::int8 {
namespace {

// Bytes are saturated to [0, 255] when they are made; most activations need no more.
struct ByteClamp {
  bool needed;
  IntVec low, high;
};

PU_INLINE ByteClamp clamp_of(const Requantization& q) {
  return {q.low > 0 || q.high < 255, broadcast_int(four_times(static_cast<uint8_t>(q.low))),
          broadcast_int(four_times(static_cast<uint8_t>(q.high)))};
}

// What Requantization says of hard-swish.
PU_INLINE Vec hard_swished(Vec x, const Requantization& q) {
  const Vec from = maximum(x, broadcast(-3.0f)), h = minimum(from + broadcast(3.0f), broadcast(6.0f));
  return fused(from * h, broadcast(q.swish), broadcast(q.swish_zero));
}

PU_INLINE IntVec clamped(IntVec bytes, const ByteClamp& clamp) {
  return clamp.needed ? at_most(at_least(bytes, clamp.low), clamp.high) : bytes;
}

}  // namespace
}  // namespace paddle_unstructured::int8
