// 512 bits with AVX512-VNNI; the shuffles of bytes are one instruction with AVX512-VBMI, two without.
#pragma once

namespace paddle_unstructured {
namespace {

typedef IntVec Pixels;
typedef IntVec Weights;
typedef IntVec Pairs;
typedef int32_t Quad __attribute__((vector_size(16)));

PU_INLINE __m512i raw(IntVec v) { return reinterpret_cast<__m512i>(v); }
PU_INLINE __m512 raw(Vec v) { return reinterpret_cast<__m512>(v); }
PU_INLINE IntVec ints(__m512i v) { return reinterpret_cast<IntVec>(v); }

PU_INLINE Pixels pixels(IntVec v) { return v; }
PU_INLINE Weights weights(IntVec v) { return v; }
PU_INLINE IntVec dot(IntVec sums, Pixels x, Weights w) { return ints(_mm512_dpbusd_epi32(raw(sums), raw(x), raw(w))); }

PU_INLINE Quad dot4(Quad sums, int32_t x, Quad w) {
  return reinterpret_cast<Quad>(_mm_dpbusd_epi32(reinterpret_cast<__m128i>(sums), _mm_set1_epi32(x),
                                                 reinterpret_cast<__m128i>(w)));
}

PU_INLINE IntVec repeated(const int32_t* from) {
  return ints(_mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}

PU_INLINE Vec fused(Vec a, Vec b, Vec c) { return reinterpret_cast<Vec>(_mm512_fmadd_ps(raw(a), raw(b), raw(c))); }

PU_INLINE IntVec quantized(Vec real) { return ints(_mm512_cvtps_epi32(raw(real))); }

// Rows of a 4x4 square of bytes become columns, in each 128 bits.
PU_INLINE __m512i transposed(__m512i v) {
  return _mm512_shuffle_epi8(
      v, _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)));
}

PU_INLINE Pairs pair(IntVec a, IntVec b) { return ints(_mm512_packs_epi32(raw(a), raw(b))); }
PU_INLINE IntVec interleaved(Pairs ab, Pairs cd) { return ints(transposed(_mm512_packus_epi16(raw(ab), raw(cd)))); }

PU_INLINE IntVec in_order(IntVec a, IntVec b, IntVec c, IntVec d) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return ints(_mm512_permutexvar_epi32(order, _mm512_packus_epi16(raw(pair(a, b)), raw(pair(c, d)))));
}

PU_INLINE IntVec at_least(IntVec bytes, IntVec low) { return ints(_mm512_max_epu8(raw(bytes), raw(low))); }

PU_INLINE IntVec at_most(IntVec bytes, IntVec high) { return ints(_mm512_min_epu8(raw(bytes), raw(high))); }

PU_INLINE IntVec widened(const uint8_t* from) {
  return ints(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}

PU_INLINE void narrow(uint8_t* to, IntVec v, IntVec low, IntVec high) {
  const __m512i kept = _mm512_min_epi32(_mm512_max_epi32(raw(v), raw(low)), raw(high));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(kept));
}

// With stride 1 half a vector is enough, and fewer loads reach into a second line of the cache.
template <int Stride>
PU_INLINE __m512i load_taps(const uint8_t* from) {
  if (Stride == 1) return _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  return _mm512_loadu_si512(from);
}

template <int Stride>
PU_INLINE Pixels taps(const uint8_t* from) {
#ifdef __AVX512VBMI__
  alignas(64) uint8_t place[64];
  PU_UNROLL(64)
  for (int i = 0; i < 64; ++i) place[i] = static_cast<uint8_t>((i / 16 * Stride + i % 4) * 4 + i / 4 % 4);
  return ints(_mm512_permutexvar_epi8(_mm512_load_si512(place), load_taps<Stride>(from)));
#else
  IntVec place{};
  PU_UNROLL(16)
  for (int i = 0; i < 16; ++i) place[i] = i / 4 * Stride + i % 4;
  return ints(transposed(_mm512_permutexvar_epi32(raw(place), load_taps<Stride>(from))));
#endif
}

}  // namespace
}  // namespace paddle_unstructured
