// A vector of PU_LANES floats, in GCC's and clang's own vector types: the same source serves every instruction set.
#pragma once

#include <cstdint>
#include <cstring>

#define PU_INLINE static inline __attribute__((always_inline))
#define PU_UNROLL(n) _Pragma(PU_STRING(GCC unroll n))
#define PU_STRING(x) #x

namespace paddle_unstructured {
namespace {

constexpr int kLanes = PU_LANES;
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

PU_INLINE IntVec lane_numbers() {
  IntVec v{};
  PU_UNROLL(16)
  for (int i = 0; i < kLanes; ++i) v[i] = i;
  return v;
}

// All bits of the lanes in [first, last), none of the others.
PU_INLINE IntVec lanes_between(int first, int last) {
  const IntVec lane = lane_numbers();
  return (lane >= first) & (lane < last);
}

PU_INLINE Vec keep(Vec v, IntVec mask) {
  return reinterpret_cast<Vec>(reinterpret_cast<IntVec>(v) & mask);
}

PU_INLINE Vec choose(IntVec mask, Vec yes, Vec no) {
  return reinterpret_cast<Vec>((reinterpret_cast<IntVec>(yes) & mask) | (reinterpret_cast<IntVec>(no) & ~mask));
}

PU_INLINE void store_first(float* to, Vec v, int lanes) {
  if (lanes >= kLanes) {
    store(to, v);
  } else {
#if PU_LANES == 16
    _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << lanes) - 1), reinterpret_cast<__m512>(v));
#elif PU_LANES == 8
    _mm256_maskstore_ps(to, reinterpret_cast<__m256i>(lanes_between(0, lanes)), reinterpret_cast<__m256>(v));
#else
    for (int i = 0; i < lanes; ++i) to[i] = v[i];
#endif
  }
}

// from[0], from[2], from[4], ...; reads 2 * kLanes floats.
PU_INLINE Vec load_even(const float* from) {
  const Vec low = load(from), high = load(from + kLanes);
  return __builtin_shuffle(low, high, 2 * lane_numbers());
}

PU_INLINE float sum_of(Vec v) {
  float total = 0;
  for (int i = 0; i < kLanes; ++i) total += v[i];
  return total;
}

}  // namespace
}  // namespace paddle_unstructured
