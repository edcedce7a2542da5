// SPDX-License-Identifier: Apache-2.0
// A vector of PU_LANES floats, in GCC's and clang's own vector types: the same source serves every instruction set.
#pragma once

#include <cstdint>
#include <cstring>

#if PU_LANES > 4
#include <immintrin.h>
#elif PU_NEON
#include <arm_neon.h>
#endif

#define PU_INLINE inline __attribute__((always_inline))
#define PU_UNROLL(n) _Pragma(PU_STRING(GCC unroll n))
#define PU_STRING(x) #x

namespace paddle_unstructured {
namespace {

constexpr int kLanes = PU_LANES;
#if PU_NEON
constexpr int kTogether = 4;  // vectors that one instruction loads; tiles are counted in them
#else
constexpr int kTogether = 1;
#endif
typedef float Vec __attribute__((vector_size(4 * PU_LANES)));
typedef int32_t IntVec __attribute__((vector_size(4 * PU_LANES)));

PU_INLINE Vec broadcast(float value) { return value - Vec{}; }

PU_INLINE Vec load(const float* from) {
  Vec v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

PU_INLINE void store(float* to, Vec v) { std::memcpy(to, &v, sizeof v); }

PU_INLINE Vec load_aligned(const float* from) {
  return *static_cast<const Vec*>(__builtin_assume_aligned(from, sizeof(Vec)));
}

PU_INLINE void store_aligned(float* to, Vec v) { *static_cast<Vec*>(__builtin_assume_aligned(to, sizeof(Vec))) = v; }

// Written so that a NaN stays one.
PU_INLINE Vec maximum(Vec a, Vec b) { return b > a ? b : a; }
PU_INLINE Vec minimum(Vec a, Vec b) { return b < a ? b : a; }
PU_INLINE Vec clamp(Vec v, Vec low, Vec high) { return minimum(maximum(v, low), high); }

// Keeps a vector in a register where several instructions use it: the compiler likes to load it again for each, and
// the sparse kernels are limited by loads.
PU_INLINE void hold(Vec& v) {
#if PU_LANES == 16
  __asm__("" : "+v"(v));
#elif defined(__x86_64__)
  __asm__("" : "+x"(v));
#elif defined(__aarch64__)
  __asm__("" : "+w"(v));
#else
  (void)v;
#endif
}

// Keeps the compiler from working out the address of every vector beforehand, for which it has no registers.
template <typename Pointer>
PU_INLINE void hold_pointer(Pointer& pointer) {
  __asm__("" : "+r"(pointer));
}

PU_INLINE IntVec lane_numbers() {
  IntVec v{};
  PU_UNROLL(16)
  for (int i = 0; i < kLanes; ++i) v[i] = i;
  return v;
}

PU_INLINE Vec choose(IntVec mask, Vec yes, Vec no) {
  return reinterpret_cast<Vec>((reinterpret_cast<IntVec>(yes) & mask) | (reinterpret_cast<IntVec>(no) & ~mask));
}

PU_INLINE int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }
PU_INLINE int32_t most(int32_t a, int32_t b) { return a > b ? a : b; }

// Some lanes of a vector: bits where the processor has registers for them, else a vector of all ones and zeros.
#if PU_LANES == 16
typedef __mmask16 Lanes;

PU_INLINE Lanes lanes_between(int first, int last) {
  const unsigned below_last = last >= kLanes ? 0xffffu : last <= 0 ? 0u : (1u << last) - 1;
  const unsigned below_first = first >= kLanes ? 0xffffu : first <= 0 ? 0u : (1u << first) - 1;
  return static_cast<Lanes>(below_last & ~below_first);
}

PU_INLINE Vec keep(Vec v, Lanes lanes) {
  return reinterpret_cast<Vec>(_mm512_maskz_mov_ps(lanes, reinterpret_cast<__m512>(v)));
}

PU_INLINE Lanes all_lanes_if(bool condition) { return static_cast<Lanes>(condition ? 0xffff : 0); }

PU_INLINE Lanes lanes_where(IntVec ones) { return _mm512_movepi32_mask(reinterpret_cast<__m512i>(ones)); }

PU_INLINE Lanes lanes_of_numbers(Vec v) {
  const __m512 x = reinterpret_cast<__m512>(v);
  return _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q);
}

PU_INLINE Lanes lanes_of_nans(Vec v) {
  const __m512 x = reinterpret_cast<__m512>(v);
  return _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
}

PU_INLINE bool any(Lanes lanes) { return lanes != 0; }

PU_INLINE Vec choose_lanes(Lanes lanes, Vec yes, Vec no) {
  return reinterpret_cast<Vec>(_mm512_mask_mov_ps(reinterpret_cast<__m512>(no), lanes, reinterpret_cast<__m512>(yes)));
}

PU_INLINE void store_lanes(float* to, Vec v, Lanes lanes) {
  _mm512_mask_storeu_ps(to, lanes, reinterpret_cast<__m512>(v));
}
#else
typedef IntVec Lanes;

PU_INLINE Lanes lanes_between(int first, int last) {
  const IntVec lane = lane_numbers();
  return (lane >= first) & (lane < last);
}

PU_INLINE Vec keep(Vec v, Lanes lanes) { return reinterpret_cast<Vec>(reinterpret_cast<IntVec>(v) & lanes); }

PU_INLINE Lanes all_lanes_if(bool condition) { return IntVec{} - static_cast<int32_t>(condition); }
PU_INLINE Lanes lanes_where(IntVec ones) { return ones; }
PU_INLINE Lanes lanes_of_numbers(Vec v) { return v == v; }
PU_INLINE Lanes lanes_of_nans(Vec v) { return v != v; }

PU_INLINE bool any(Lanes lanes) {
#if PU_NEON
  return vmaxvq_u32(reinterpret_cast<uint32x4_t>(lanes)) != 0;
#else
  int32_t bits = 0;
  for (int i = 0; i < kLanes; ++i) bits |= lanes[i];
  return bits != 0;
#endif
}

PU_INLINE Vec choose_lanes(Lanes lanes, Vec yes, Vec no) { return choose(lanes, yes, no); }

PU_INLINE void store_lanes(float* to, Vec v, Lanes lanes) {
#if PU_LANES == 8
  _mm256_maskstore_ps(to, reinterpret_cast<__m256i>(lanes), reinterpret_cast<__m256>(v));
#else
  for (int i = 0; i < kLanes; ++i)
    if (lanes[i]) to[i] = v[i];
#endif
}
#endif

PU_INLINE void store_first(float* to, Vec v, int lanes) {
  if (lanes >= kLanes) {
    store(to, v);
  } else {
    store_lanes(to, v, lanes_between(0, lanes));
  }
}

// Of 2 * kLanes neighbouring floats.
PU_INLINE Vec evens(Vec low, Vec high) { return __builtin_shuffle(low, high, 2 * lane_numbers()); }
PU_INLINE Vec odds(Vec low, Vec high) { return __builtin_shuffle(low, high, 2 * lane_numbers() + 1); }

// Lane i of the result is lane i + by of v, or zero where there is none.
PU_INLINE Vec shifted(Vec v, int by) {
  return by >= 0 ? __builtin_shuffle(v, Vec{}, lane_numbers() + by)
                 : __builtin_shuffle(Vec{}, v, lane_numbers() + kLanes + by);
}

// from[0], from[2], from[4], ...; reads 2 * kLanes floats.
PU_INLINE Vec load_even(const float* from) { return evens(load(from), load(from + kLanes)); }

// Which of the columns `column`, `column + Stride`, ... lie in [0, width). Stride is 1 or 2.
template <int Stride>
PU_INLINE Lanes lanes_inside(int32_t column, int32_t width) {
  const int32_t first = column >= 0 ? 0 : (Stride - 1 - column) / Stride;
  return lanes_between(first, width - column <= 0 ? 0 : (width - column + Stride - 1) / Stride);
}

// row[column], row[column + Stride], ...; lanes outside [0, width) are zero. Reads Stride vectors.
template <int Stride>
PU_INLINE Vec load_between(const float* row, int32_t column, int32_t width) {
  const Vec v = Stride == 1 ? load(row + column) : load_even(row + column);
  return keep(v, lanes_inside<Stride>(column, width));
}

// From a number known at run time to one the compiler knows: calls `run.template with<n>()` for n = value.
template <int Most, typename Run>
PU_INLINE void with_constant(int value, const Run& run) {
  if constexpr (Most > 1) {
    if (value < Most) return with_constant<Most - 1>(value, run);
  }
  run.template with<Most>();
}

PU_INLINE float sum_of(Vec v) {
  float total = 0;
  for (int i = 0; i < kLanes; ++i) total += v[i];
  return total;
}

// A number that is part of a type: for lambdas that need one the compiler knows.
template <int N>
struct Number {
  static constexpr int value = N;
};

// Calls use(Number<0>), use(Number<1>), ...
template <int Count, int First = 0, typename Use>
PU_INLINE void for_each_number(const Use& use) {
  if constexpr (First < Count) {
    use(Number<First>{});
    for_each_number<Count, First + 1>(use);
  }
}

#if PU_NEON
constexpr int kWeights = 4;  // that lie in one register; an instruction multiplies a vector by one of its lanes

// sum + x * weights[Lane]. GCC would first copy the lane into a vector of its own.
template <int Lane>
PU_INLINE Vec add_product(Vec sum, Vec x, Vec weights) {
  __asm__("fmla %0.4s, %1.4s, %2.s[%3]" : "+w"(sum) : "w"(x), "w"(weights), "i"(Lane));
  return sum;
}

// Calls use(v, vector) for `Vectors` vectors that lie behind each other. The pointer is held, so that each instruction
// moves it on to the next four.
template <int Vectors, int First = 0, typename Use>
PU_INLINE void for_each_vector(const float* from, const Use& use) {
  static_assert(Vectors % kTogether == 0);
  if constexpr (First < Vectors) {
    const float32x4x4_t x = vld1q_f32_x4(from);
    from += kTogether * kLanes;
    hold_pointer(from);
    PU_UNROLL(4)
    for (int i = 0; i < kTogether; ++i) use(First + i, reinterpret_cast<Vec>(x.val[i]));
    for_each_vector<Vectors, First + kTogether>(from, use);
  }
}
#endif

}  // namespace
}  // namespace paddle_unstructured
