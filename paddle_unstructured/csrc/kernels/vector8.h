// Vectors of bytes, four to a lane of int32, on top of vector.h. What differs between instruction sets is in the three
// files that are included here; each defines
//
//   Pixels, Weights                 four bytes in each lane, in the form that `dot` wants
//   pixels(IntVec), weights(IntVec)  into that form
//   dot(sums, Pixels, Weights)      sums += the products of four unsigned bytes with four signed ones, exactly
//   Quad, dot4                      the same for the four lanes of a 128-bit vector; the four bytes of x in each
//   fused(a, b, c)                  a * b + c, rounded once
//   quantized(real)                 rounded to the nearest even; what is not in [0, 255] stays outside, or is saturated
//   pair, interleaved               four vectors of integers to bytes: lane i is a[i], b[i], c[i], d[i], saturated
//   in_order(a, b, c, d)            the bytes of a, then those of b, ...
//   at_least, at_most(bytes, bound) the larger, the smaller of each two bytes
//   widened(bytes), narrow          kLanes bytes to integers, and back, between `low` and `high`
//   repeated(from)                  the four integers at `from`, again and again
//   taps<Stride>(from)              lane 4*p + c: channel c of the four pixels from p * Stride on
#pragma once

#include "vector.h"

namespace paddle_unstructured {
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

PU_INLINE int32_t word_at(const void* from) {
  int32_t word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

}  // namespace
}  // namespace paddle_unstructured

#if PU_LANES == 16
#include "vector8_avx512.h"
#elif PU_LANES == 8
#include "vector8_avx2.h"
#else
#include "vector8_portable.h"
#endif
