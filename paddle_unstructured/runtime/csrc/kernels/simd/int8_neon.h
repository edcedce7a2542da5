// SPDX-License-Identifier: Apache-2.0
// 128 bits of NEON, three ways to four products:
//
//   i8mm      `usdot`: unsigned pixels, signed weights
//   dotprod   `sdot`: both are signed
//   neither   `smull` to 16 bits, whose pairs `addp` adds, and `sadalp` to 32: both are signed
//
// Where both are signed, kernels multiply q - 128, which is the byte with its highest bit turned; what is then missing,
// 128 * sum of weights, is in the bias (table.h, `shift`). A sum of two products of 16 bits stays in them, because
// there is no weight of -128: 2 * 128 * 127 < 32768.
#pragma once

namespace paddle_unstructured::int8 {
namespace {

typedef int16x8_t Pairs;
typedef IntVec Quad;

PU_INLINE int32x4_t raw(IntVec v) { return reinterpret_cast<int32x4_t>(v); }
PU_INLINE uint8x16_t raw_bytes(IntVec v) { return reinterpret_cast<uint8x16_t>(v); }
PU_INLINE int8x16_t raw_signs(IntVec v) { return reinterpret_cast<int8x16_t>(v); }
PU_INLINE float32x4_t raw(Vec v) { return reinterpret_cast<float32x4_t>(v); }
PU_INLINE IntVec ints(int32x4_t v) { return reinterpret_cast<IntVec>(v); }
PU_INLINE IntVec ints(uint8x16_t v) { return reinterpret_cast<IntVec>(v); }

typedef IntVec Pixels;
typedef IntVec Weights;
PU_INLINE Weights weights(IntVec v) { return v; }
PU_INLINE Pixels panel_pixels(IntVec v) { return v; }

#if defined(__ARM_FEATURE_MATMUL_INT8)
constexpr int32_t kShift = 0;
PU_INLINE IntVec dot(IntVec sums, Pixels x, Weights w) {
  return ints(vusdotq_s32(raw(sums), raw_bytes(x), raw_signs(w)));
}
template <int Lane>
PU_INLINE IntVec dot_lane(IntVec sums, Pixels x, Weights w) {
  return ints(vusdotq_laneq_s32(raw(sums), raw_bytes(x), raw_signs(w), Lane));
}
#elif defined(__ARM_FEATURE_DOTPROD)
constexpr int32_t kShift = 128;
PU_INLINE IntVec dot(IntVec sums, Pixels x, Weights w) {
  return ints(vdotq_s32(raw(sums), raw_signs(x), raw_signs(w)));
}
template <int Lane>
PU_INLINE IntVec dot_lane(IntVec sums, Pixels x, Weights w) {
  return ints(vdotq_laneq_s32(raw(sums), raw_signs(x), raw_signs(w), Lane));
}
#else
constexpr int32_t kShift = 128;
PU_INLINE IntVec dot(IntVec sums, Pixels x, Weights w) {
  const int16x8_t low = vmull_s8(vget_low_s8(raw_signs(x)), vget_low_s8(raw_signs(w)));
  const int16x8_t high = vmull_high_s8(raw_signs(x), raw_signs(w));
  return ints(vpadalq_s16(raw(sums), vpaddq_s16(low, high)));
}
template <int Lane>
PU_INLINE IntVec dot_lane(IntVec sums, Pixels x, Weights w) {
  return dot(sums, x, ints(vdupq_laneq_s32(raw(w), Lane)));
}
#endif

PU_INLINE Pixels pixels(IntVec v) { return kShift == 0 ? v : v ^ broadcast_int(four_times(kShift)); }

// As for_each_vector (vector.h).
template <int Vectors, typename Use>
PU_INLINE void for_each_pixels(const uint8_t* from, const Use& use) {
  for_each_vector<Vectors>(reinterpret_cast<const float*>(from), [&](int v, Vec x) __attribute__((always_inline)) {
    use(v, panel_pixels(reinterpret_cast<IntVec>(x)));
  });
}

PU_INLINE Quad dot4(Quad sums, int32_t x, Quad w) { return dot(sums, pixels(broadcast_int(x)), w); }

PU_INLINE IntVec repeated(const int32_t* from) { return load_ints(from); }

PU_INLINE Vec fused(Vec a, Vec b, Vec c) { return reinterpret_cast<Vec>(vfmaq_f32(raw(c), raw(a), raw(b))); }

PU_INLINE IntVec quantized(Vec real) { return ints(vcvtnq_s32_f32(raw(real))); }

PU_INLINE Pairs pair(IntVec a, IntVec b) { return vqmovn_high_s32(vqmovn_s32(raw(a)), raw(b)); }

PU_INLINE uint8x16_t packed(Pairs ab, Pairs cd) { return vqmovun_high_s16(vqmovun_s16(ab), cd); }

// Rows of a 4x4 square of bytes become columns.
PU_INLINE uint8x16_t transposed(uint8x16_t v) {
  static constexpr uint8_t kPlaces[16] = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
  return vqtbl1q_u8(v, vld1q_u8(kPlaces));
}

PU_INLINE IntVec interleaved(Pairs ab, Pairs cd) { return ints(transposed(packed(ab, cd))); }

PU_INLINE IntVec in_order(IntVec a, IntVec b, IntVec c, IntVec d) { return ints(packed(pair(a, b), pair(c, d))); }

PU_INLINE IntVec at_least(IntVec bytes, IntVec low) { return ints(vmaxq_u8(raw_bytes(bytes), raw_bytes(low))); }

PU_INLINE IntVec at_most(IntVec bytes, IntVec high) { return ints(vminq_u8(raw_bytes(bytes), raw_bytes(high))); }

PU_INLINE IntVec widened(const uint8_t* from) {
  const uint8x8_t bytes = vreinterpret_u8_u32(vdup_n_u32(static_cast<uint32_t>(word_at(from))));
  return reinterpret_cast<IntVec>(vmovl_u16(vget_low_u16(vmovl_u8(bytes))));
}

PU_INLINE void narrow(uint8_t* to, IntVec v, IntVec low, IntVec high) {
  const int32x4_t kept = vminq_s32(vmaxq_s32(raw(v), raw(low)), raw(high));
  const Pairs words = vcombine_s16(vqmovn_s32(kept), vqmovn_s32(kept));
  const int32_t four = ints(packed(words, words))[0];
  std::memcpy(to, &four, sizeof four);
}

constexpr int square_pixels(int, int) { return kLanes; }
constexpr int reach_parts(int, int vectors) { return vectors; }
constexpr int reach_step(int stride) { return kLanes / kGroup * stride; }

PU_INLINE IntVec load_inside(const uint8_t* from, Lanes inside, IntVec beyond) {
  return (load_ints(from) & inside) | (beyond & ~inside);
}

template <int>
PU_INLINE void store_last(uint8_t* to, IntVec v) {
  store_ints(to, v);
}

template <int, int Parts>
PU_INLINE Pixels taps(const IntVec (&reach)[Parts], int v) {
  return pixels(ints(transposed(raw_bytes(reach[v]))));
}

}  // namespace
}  // namespace paddle_unstructured::int8
