// SPDX-License-Identifier: Apache-2.0
// What flows through the net: where its numbers lie, and what they mean. kernels/planes.h draws how they lie.
#pragma once

#include <cassert>
#include <cstdint>

#include "../kernels/tiles.h"
#include "shape.h"

namespace paddle_unstructured {

enum class Type : int8_t { kFloat32, kInt8, kBfloat16 };

inline const char* name_of(Type type) {
  return type == Type::kInt8 ? "int8" : type == Type::kBfloat16 ? "bfloat16" : "float32";
}

struct Quantization {  // real = scale * (q - zero), q in [0, 255]
  float scale = 1;
  int32_t zero = 0;

  bool operator==(const Quantization& other) const { return scale == other.scale && zero == other.zero; }
};

// What the numbers of a value are: float32, bfloat16, or int8 with its quantization.
struct Format {
  Type type = Type::kFloat32;
  Quantization quantization;

  bool is_int8() const { return type == Type::kInt8; }
  bool operator==(const Format& other) const { return type == other.type && quantization == other.quantization; }
};

// A pixel of a plane is a float32, the four bytes of a group, or a pair of bfloat16 channels.
constexpr int64_t kPixelBytes = 4;
constexpr int64_t kGuardBytes = kGuard * kPixelBytes;
static_assert(sizeof(float) == kPixelBytes && kGroup == kPixelBytes, "planes of both types take the same room");

// That a value needs; kernels write whole groups of rows, and those of tiles whole tiles.
inline int64_t bytes_of(const Shape& shape, Type type) {
  const int64_t planes = type == Type::kInt8       ? round_up(shape.groups(), kGroup)
                         : type == Type::kBfloat16 ? round_up(shape.pairs(), kTileOutputs / 2)
                                                   : round_up(shape.channels, kGroup);
  return planes * shape.pitch() * kPixelBytes;
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
    assert(type != Type::kFloat32);
    return static_cast<uint8_t*>(data);
  }
  uint8_t* group(int64_t which) const { return bytes() + which * group_pitch(); }  // or pair
  int64_t group_pitch() const { return pitch() * kGroup; }                         // bytes
};

}  // namespace paddle_unstructured
