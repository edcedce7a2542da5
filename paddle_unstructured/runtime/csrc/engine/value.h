// SPDX-License-Identifier: Apache-2.0
// What flows through the net: where its numbers lie, and what they mean. kernels/planes.h draws how they lie.
#pragma once

#include <cassert>
#include <cstdint>

#include "shape.h"

namespace paddle_unstructured {

enum class Type : int8_t { kFloat32, kInt8 };

struct Quantization {  // real = scale * (q - zero), q in [0, 255]
  float scale = 1;
  int32_t zero = 0;

  bool operator==(const Quantization& other) const { return scale == other.scale && zero == other.zero; }
};

// What the numbers of a value are: float32, or int8 with its quantization.
struct Format {
  Type type = Type::kFloat32;
  Quantization quantization;

  bool is_int8() const { return type == Type::kInt8; }
  bool operator==(const Format& other) const { return type == other.type && quantization == other.quantization; }
};

// A pixel of a plane is a float32, or the four bytes of a group.
constexpr int64_t kPixelBytes = 4;
constexpr int64_t kGuardBytes = kGuard * kPixelBytes;
static_assert(sizeof(float) == kPixelBytes && kGroup == kPixelBytes, "planes of both types take the same room");

// That a value needs; kernels write whole groups of rows.
inline int64_t bytes_of(const Shape& shape, Type type) {
  return round_up(type == Type::kInt8 ? shape.groups() : shape.channels, kGroup) * shape.pitch() * kPixelBytes;
}

struct Value {
  void* data;
  Shape shape;
  Type type;
  Quantization quantization;  // of int8

  int64_t pitch() const { return shape.pitch(); }  // pixels

  float* floats() const {
    assert(type == Type::kFloat32);
    return static_cast<float*>(data);
  }
  float* channel(int64_t which) const { return floats() + which * pitch(); }

  uint8_t* bytes() const {
    assert(type == Type::kInt8);
    return static_cast<uint8_t*>(data);
  }
  uint8_t* group(int64_t which) const { return bytes() + which * group_pitch(); }
  int64_t group_pitch() const { return pitch() * kGroup; }  // bytes
};

}  // namespace paddle_unstructured
