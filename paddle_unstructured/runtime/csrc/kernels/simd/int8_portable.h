// SPDX-License-Identifier: Apache-2.0
// Four lanes in plain GCC vectors, for any processor.
#pragma once

namespace paddle_unstructured::int8 {
namespace {

constexpr int32_t kShift = 0;
typedef IntVec Pixels;
typedef IntVec Weights;
typedef IntVec Pairs;
typedef IntVec Quad;
typedef uint8_t ByteVec __attribute__((vector_size(16)));

PU_INLINE Pixels pixels(IntVec v) { return v; }
PU_INLINE Pixels panel_pixels(IntVec v) { return v; }
PU_INLINE Weights weights(IntVec v) { return v; }

PU_INLINE IntVec dot(IntVec sums, Pixels x, Weights w) {
  PU_UNROLL(4)
  for (int byte = 0; byte < 4; ++byte) sums += ((x >> 8 * byte) & 255) * ((w << (24 - 8 * byte)) >> 24);
  return sums;
}

PU_INLINE Quad dot4(Quad sums, int32_t x, Quad w) { return dot(sums, broadcast_int(x), w); }

PU_INLINE IntVec repeated(const int32_t* from) { return load_ints(from); }

inline Vec fused(Vec a, Vec b, Vec c) {
  Vec result;
  for (int i = 0; i < kLanes; ++i) result[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return result;
}

// 1.5 * 2^23: adding it rounds a small number to an integer, which then stands in the lowest bits. Numbers of
// any size are saturated, which the other instruction sets leave to what comes behind.
PU_INLINE IntVec quantized(Vec real) {
  const Vec rounded = clamp(real, Vec{}, broadcast(255.0f)) + broadcast(12582912.0f);
  return reinterpret_cast<IntVec>(rounded) & 255;
}

PU_INLINE Pairs pair(IntVec a, IntVec b) { return a | (b << 8); }
PU_INLINE IntVec interleaved(Pairs ab, Pairs cd) { return ab | (cd << 16); }

PU_INLINE int32_t packed(IntVec v) { return v[0] | v[1] << 8 | v[2] << 16 | v[3] << 24; }
PU_INLINE IntVec in_order(IntVec a, IntVec b, IntVec c, IntVec d) {
  return IntVec{packed(a), packed(b), packed(c), packed(d)};
}

PU_INLINE IntVec at_least(IntVec bytes, IntVec low) {
  const ByteVec a = reinterpret_cast<ByteVec>(bytes), b = reinterpret_cast<ByteVec>(low);
  return reinterpret_cast<IntVec>(a > b ? a : b);
}

PU_INLINE IntVec at_most(IntVec bytes, IntVec high) {
  const ByteVec a = reinterpret_cast<ByteVec>(bytes), b = reinterpret_cast<ByteVec>(high);
  return reinterpret_cast<IntVec>(a < b ? a : b);
}

PU_INLINE IntVec widened(const uint8_t* from) { return IntVec{from[0], from[1], from[2], from[3]}; }

PU_INLINE void narrow(uint8_t* to, IntVec v, IntVec low, IntVec high) {
  for (int i = 0; i < kLanes; ++i) to[i] = static_cast<uint8_t>(most(low[i], least(v[i], high[i])));
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
  IntVec turned{};
  for (int channel = 0; channel < 4; ++channel)
    for (int tap = 0; tap < 4; ++tap) turned[channel] |= (reach[v][tap] >> 8 * channel & 255) << 8 * tap;
  return turned;
}

}  // namespace
}  // namespace paddle_unstructured::int8
