// SPDX-License-Identifier: Apache-2.0
// Vectors of words of two bfloat16 numbers, and sums in which what is below 2^-126 is zero.
//
//   Flushing             while it lives, the processor makes zeros of such numbers, where it can
//   plus(a, b)           a + b
//   fma(a, b, c)         a * b + c, rounded once
//   words_of(low, high)  both rounded to the nearest even; a NaN stays one
#pragma once

#include "../simd/int8.h"

namespace paddle_unstructured::bf16 {
namespace {

PU_INLINE Vec low_of(IntVec words) { return reinterpret_cast<Vec>(words << 16); }
PU_INLINE Vec high_of(IntVec words) { return reinterpret_cast<Vec>(words & static_cast<int32_t>(0xffff0000u)); }

#if PU_LANES > 4
// The processor's own mode. Nothing that computes may be moved out of it, and all of that begins and ends in memory.
class Flushing {
 public:
  PU_INLINE Flushing() : before_(_mm_getcsr()) {
    constexpr unsigned kMakesZeros = 0x8000, kReadsZeros = 0x40;
    _mm_setcsr(before_ | kMakesZeros | kReadsZeros);
    __asm__ volatile("" : : : "memory");
  }
  PU_INLINE ~Flushing() {
    __asm__ volatile("" : : : "memory");
    _mm_setcsr(before_);
  }

 private:
  const unsigned before_;
};

PU_INLINE Vec plus(Vec a, Vec b) { return a + b; }
PU_INLINE Vec fma(Vec a, Vec b, Vec c) { return int8::fused(a, b, c); }
#else
struct Flushing {
  Flushing() {}
  ~Flushing() {}
};

// In double a product of two bfloat16 is exact, and a sum is rounded so that rounding it again makes no difference.
// What float32 would round to 2^-126 with all its bits is no zero.
inline float flushed(double value) {
  return __builtin_fabs(value) < 0x1p-126 - 0x1p-151 ? static_cast<float>(__builtin_copysign(0.0, value))
                                                     : static_cast<float>(value);
}

inline Vec plus(Vec a, Vec b) {
  Vec sum;
  for (int i = 0; i < kLanes; ++i) sum[i] = flushed(double{a[i]} + double{b[i]});
  return sum;
}

inline Vec fma(Vec a, Vec b, Vec c) {
  Vec sum;
  for (int i = 0; i < kLanes; ++i) sum[i] = flushed(double{a[i]} * double{b[i]} + double{c[i]});
  return sum;
}
#endif

#if PU_TILES == 1
PU_INLINE IntVec words_of(Vec low, Vec high) {
  const auto both =
      reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(high), reinterpret_cast<__m512>(low)));
  const IntVec order = lane_numbers() + ((lane_numbers() + 16) << 16);  // low 0, high 0, low 1, ...
  return reinterpret_cast<IntVec>(_mm512_permutexvar_epi16(reinterpret_cast<__m512i>(order), both));
}
#else
// In the upper half; the lower one is what is left of rounding.
PU_INLINE IntVec rounded(Vec v) {
  constexpr int32_t kSign = INT32_MIN, kExponent = 0x7f800000, kQuiet = 0x400000;
  const IntVec bits = reinterpret_cast<IntVec>(v), number = v == v, small = (bits & kExponent) == 0;
  const IntVec finite = bits & number, nearest = finite + 0x7fff + (finite >> 16 & 1);  // a NaN would overflow
  return (nearest & number & ~small) | (bits & kSign & small) | ((bits | kQuiet) & ~number);
}

PU_INLINE IntVec words_of(Vec low, Vec high) {
  return (rounded(low) >> 16 & 0xffff) | (rounded(high) & static_cast<int32_t>(0xffff0000u));
}
#endif

}  // namespace
}  // namespace paddle_unstructured::bf16
