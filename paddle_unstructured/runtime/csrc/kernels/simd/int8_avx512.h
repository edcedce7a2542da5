// SPDX-License-Identifier: Apache-2.0
// 512 bits with AVX512-VNNI; the shuffles of bytes are one instruction with AVX512-VBMI, two without.
#pragma once

namespace paddle_unstructured::int8 {
namespace {

constexpr int32_t kShift = 0;
typedef IntVec Pixels;
typedef IntVec Weights;
typedef IntVec Pairs;
typedef int32_t Quad __attribute__((vector_size(16)));

// GCC's header starts many functions of whole vectors from a value that it leaves uninitialized, and then warns of it.
// Those are called here by their masked forms with all lanes set, which compile to the same instruction.
constexpr __mmask16 kAll = 0xffff;
constexpr __mmask64 kAllBytes = ~__mmask64{0};

PU_INLINE __m512i raw(IntVec v) { return reinterpret_cast<__m512i>(v); }
PU_INLINE __m512 raw(Vec v) { return reinterpret_cast<__m512>(v); }
PU_INLINE IntVec ints(__m512i v) { return reinterpret_cast<IntVec>(v); }

PU_INLINE Pixels pixels(IntVec v) { return v; }
PU_INLINE Pixels panel_pixels(IntVec v) { return v; }
PU_INLINE Weights weights(IntVec v) { return v; }
PU_INLINE IntVec dot(IntVec sums, Pixels x, Weights w) { return ints(_mm512_dpbusd_epi32(raw(sums), raw(x), raw(w))); }

PU_INLINE Quad dot4(Quad sums, int32_t x, Quad w) {
  return reinterpret_cast<Quad>(
      _mm_dpbusd_epi32(reinterpret_cast<__m128i>(sums), _mm_set1_epi32(x), reinterpret_cast<__m128i>(w)));
}

PU_INLINE IntVec repeated(const int32_t* from) {
  return ints(_mm512_maskz_broadcast_i32x4(kAll, _mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}

PU_INLINE Vec fused(Vec a, Vec b, Vec c) { return reinterpret_cast<Vec>(_mm512_fmadd_ps(raw(a), raw(b), raw(c))); }

PU_INLINE IntVec quantized(Vec real) { return ints(_mm512_maskz_cvtps_epi32(kAll, raw(real))); }

// Rows of a 4x4 square of bytes become columns, in each 128 bits.
PU_INLINE __m512i transposed(__m512i v) {
  return _mm512_shuffle_epi8(
      v, _mm512_maskz_broadcast_i32x4(kAll, _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)));
}

PU_INLINE Pairs pair(IntVec a, IntVec b) { return ints(_mm512_packs_epi32(raw(a), raw(b))); }
PU_INLINE IntVec interleaved(Pairs ab, Pairs cd) { return ints(transposed(_mm512_packus_epi16(raw(ab), raw(cd)))); }

PU_INLINE IntVec in_order(IntVec a, IntVec b, IntVec c, IntVec d) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return ints(_mm512_maskz_permutexvar_epi32(kAll, order, _mm512_packus_epi16(raw(pair(a, b)), raw(pair(c, d)))));
}

PU_INLINE IntVec at_least(IntVec bytes, IntVec low) { return ints(_mm512_max_epu8(raw(bytes), raw(low))); }

PU_INLINE IntVec at_most(IntVec bytes, IntVec high) { return ints(_mm512_min_epu8(raw(bytes), raw(high))); }

PU_INLINE IntVec widened(const uint8_t* from) {
  return ints(_mm512_maskz_cvtepu8_epi32(kAll, _mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}

PU_INLINE void narrow(uint8_t* to, IntVec v, IntVec low, IntVec high) {
  const __m512i kept = _mm512_maskz_min_epi32(kAll, _mm512_maskz_max_epi32(kAll, raw(v), raw(low)), raw(high));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_maskz_cvtepi32_epi8(kAll, kept));
}

// One vector holds what a row of 14 windows reaches with stride 1, two with stride 2.
constexpr int square_pixels(int kernel, int stride) { return kernel == 5 && stride == 1 ? 13 : 14; }
constexpr int reach_parts(int stride, int) { return stride; }
constexpr int reach_step(int) { return 16; }

PU_INLINE IntVec load_inside(const uint8_t* from, Lanes inside, IntVec beyond) {
  return ints(_mm512_mask_loadu_epi32(raw(beyond), inside, from));
}

template <int Square>
PU_INLINE void store_last(uint8_t* to, IntVec v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_maskz_extracti64x4_epi64(0xff, raw(v), 0));
  _mm256_storeu_si256(
      reinterpret_cast<__m256i*>(to + (Square - 8) * kGroup),
      _mm512_maskz_extracti64x4_epi64(0xff, _mm512_maskz_alignr_epi32(kAll, raw(v), raw(v), Square - 8), 0));
}

// Where the taps of the four pixels of vector v lie, in bytes or in pixels.
template <int Stride>
struct alignas(64) Places {
  uint8_t bytes[4][64] = {};
  int32_t pixels[4][16] = {};

  constexpr Places() {
    for (int v = 0; v < 4; ++v)
      for (int i = 0; i < 64; ++i) {
        const int pixel = (v * 4 + i / 16) * Stride + i % 4;
        bytes[v][i] = static_cast<uint8_t>(pixel * 4 + i / 4 % 4);
        pixels[v][i / 16 * 4 + i % 4] = pixel;
      }
  }
};

template <int Stride>
PU_INLINE Pixels taps(const IntVec (&reach)[Stride], int v) {
  static constexpr Places<Stride> kPlaces;
  const IntVec& only = reach[v < 2 ? 0 : Stride - 1];
  const bool between = Stride == 2 && v == 1;
#ifdef __AVX512VBMI__
  const __m512i place = _mm512_load_si512(kPlaces.bytes[v]);
  return ints(between ? _mm512_permutex2var_epi8(raw(reach[0]), place, raw(reach[Stride - 1]))
                      : _mm512_maskz_permutexvar_epi8(kAllBytes, place, raw(only)));
#else
  const __m512i place = _mm512_load_si512(kPlaces.pixels[v]);
  return ints(transposed(between ? _mm512_permutex2var_epi32(raw(reach[0]), place, raw(reach[Stride - 1]))
                                 : _mm512_maskz_permutexvar_epi32(kAll, place, raw(only))));
#endif
}

}  // namespace
}  // namespace paddle_unstructured::int8
