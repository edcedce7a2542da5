// SPDX-License-Identifier: Apache-2.0
// 256 bits: AVX-VNNI; or AVX2, where bytes are widened to 16 bits, whose products `vpmaddwd` adds without saturation.
// (`vpmaddubsw` would save half of it, but saturates: 255 * 127 * 2 is more than 32767.)
#pragma once

namespace paddle_unstructured::int8 {
namespace {

constexpr int32_t kShift = 0;
typedef IntVec Pairs;
typedef int32_t Quad __attribute__((vector_size(16)));

PU_INLINE __m256i raw(IntVec v) { return reinterpret_cast<__m256i>(v); }
PU_INLINE __m256 raw(Vec v) { return reinterpret_cast<__m256>(v); }
PU_INLINE __m128i raw(Quad v) { return reinterpret_cast<__m128i>(v); }
PU_INLINE IntVec ints(__m256i v) { return reinterpret_cast<IntVec>(v); }

#if defined(__AVXVNNI__) || defined(__AVX512VNNI__)
typedef IntVec Pixels;
typedef IntVec Weights;
PU_INLINE Pixels pixels(IntVec v) { return v; }
PU_INLINE Weights weights(IntVec v) { return v; }

#ifdef __AVXVNNI__
PU_INLINE IntVec dot(IntVec sums, Pixels x, Weights w) {
  return ints(_mm256_dpbusd_avx_epi32(raw(sums), raw(x), raw(w)));
}
PU_INLINE Quad dot4(Quad sums, int32_t x, Quad w) {
  return reinterpret_cast<Quad>(_mm_dpbusd_avx_epi32(raw(sums), _mm_set1_epi32(x), raw(w)));
}
#else  // the same instruction in another encoding: where this source is tested on a processor with AVX-512
PU_INLINE IntVec dot(IntVec sums, Pixels x, Weights w) { return ints(_mm256_dpbusd_epi32(raw(sums), raw(x), raw(w))); }
PU_INLINE Quad dot4(Quad sums, int32_t x, Quad w) {
  return reinterpret_cast<Quad>(_mm_dpbusd_epi32(raw(sums), _mm_set1_epi32(x), raw(w)));
}
#endif
#else
struct Pixels {
  IntVec even, odd;  // bytes 0 and 2, 1 and 3, as pairs of 16 bits
};
typedef Pixels Weights;

PU_INLINE Pixels pixels(IntVec v) { return {v & 0x00ff00ff, ints(_mm256_srli_epi16(raw(v), 8))}; }
PU_INLINE Weights weights(IntVec v) {
  return {ints(_mm256_srai_epi16(_mm256_slli_epi16(raw(v), 8), 8)), ints(_mm256_srai_epi16(raw(v), 8))};
}

PU_INLINE IntVec dot(IntVec sums, Pixels x, Weights w) {
  return sums + ints(_mm256_madd_epi16(raw(x.even), raw(w.even))) + ints(_mm256_madd_epi16(raw(x.odd), raw(w.odd)));
}

PU_INLINE Quad dot4(Quad sums, int32_t x, Quad w) {
  const __m128i bytes = _mm_set1_epi32(x), signs = raw(w);
  const __m128i even =
      _mm_madd_epi16(_mm_and_si128(bytes, _mm_set1_epi16(255)), _mm_srai_epi16(_mm_slli_epi16(signs, 8), 8));
  const __m128i odd = _mm_madd_epi16(_mm_srli_epi16(bytes, 8), _mm_srai_epi16(signs, 8));
  return sums + reinterpret_cast<Quad>(even) + reinterpret_cast<Quad>(odd);
}
#endif

PU_INLINE Pixels panel_pixels(IntVec v) { return pixels(v); }

PU_INLINE IntVec repeated(const int32_t* from) {
  return ints(_mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}

PU_INLINE Vec fused(Vec a, Vec b, Vec c) { return reinterpret_cast<Vec>(_mm256_fmadd_ps(raw(a), raw(b), raw(c))); }

PU_INLINE IntVec quantized(Vec real) { return ints(_mm256_cvtps_epi32(raw(real))); }

// Rows of a 4x4 square of bytes become columns, in each 128 bits.
PU_INLINE __m256i transposed(__m256i v) {
  return _mm256_shuffle_epi8(
      v, _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)));
}

PU_INLINE Pairs pair(IntVec a, IntVec b) { return ints(_mm256_packs_epi32(raw(a), raw(b))); }
PU_INLINE IntVec interleaved(Pairs ab, Pairs cd) { return ints(transposed(_mm256_packus_epi16(raw(ab), raw(cd)))); }

PU_INLINE IntVec in_order(IntVec a, IntVec b, IntVec c, IntVec d) {
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  return ints(_mm256_permutevar8x32_epi32(_mm256_packus_epi16(raw(pair(a, b)), raw(pair(c, d))), order));
}

PU_INLINE IntVec at_least(IntVec bytes, IntVec low) { return ints(_mm256_max_epu8(raw(bytes), raw(low))); }

PU_INLINE IntVec at_most(IntVec bytes, IntVec high) { return ints(_mm256_min_epu8(raw(bytes), raw(high))); }

PU_INLINE IntVec widened(const uint8_t* from) {
  return ints(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
}

PU_INLINE void narrow(uint8_t* to, IntVec v, IntVec low, IntVec high) {
  const __m256i kept = _mm256_min_epi32(_mm256_max_epi32(raw(v), raw(low)), raw(high));
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(kept), _mm256_extracti128_si256(kept, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(words, words));
}

constexpr int square_pixels(int, int) { return kLanes; }
constexpr int reach_parts(int, int vectors) { return vectors; }
constexpr int reach_step(int stride) { return kLanes / kGroup * stride; }

PU_INLINE IntVec load_inside(const uint8_t* from, Lanes inside, IntVec beyond) {
  return ints(_mm256_blendv_epi8(raw(beyond), raw(load_ints(from)), raw(inside)));
}

template <int>
PU_INLINE void store_last(uint8_t* to, IntVec v) {
  store_ints(to, v);
}

template <int Stride, int Parts>
PU_INLINE Pixels taps(const IntVec (&reach)[Parts], int v) {
  const __m256i place = _mm256_setr_epi32(0, 1, 2, 3, Stride, Stride + 1, Stride + 2, Stride + 3);
  return pixels(ints(transposed(_mm256_permutevar8x32_epi32(raw(reach[v]), place))));
}

}  // namespace
}  // namespace paddle_unstructured::int8
