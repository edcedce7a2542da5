// SPDX-License-Identifier: Apache-2.0
// One bfloat16 number, as kernels/bf16/numbers.h has vectors of them.
#pragma once

#include <cstdint>
#include <cstring>

namespace paddle_unstructured::bf16 {

inline float widened(uint16_t number) {
  const uint32_t bits = uint32_t{number} << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}

// To the nearest even; a NaN stays one, and what is below 2^-126 becomes a zero of its sign.
inline uint16_t rounded(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if (value != value) return static_cast<uint16_t>(bits >> 16 | 0x40);
  if ((bits & 0x7f800000) == 0) return static_cast<uint16_t>(bits >> 16 & 0x8000);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

inline float flushed(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7f800000) == 0) bits &= 0x80000000;
  std::memcpy(&value, &bits, sizeof bits);
  return value;
}

}  // namespace paddle_unstructured::bf16
