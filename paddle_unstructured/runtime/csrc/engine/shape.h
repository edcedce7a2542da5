// Sizes of one sample's activation, and the views that operations read and write.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../kernels/table.h"

namespace paddle_unstructured {

constexpr int64_t kUnknown = -1;  // a size that is known at run time only
constexpr int64_t kLargest = int64_t{1} << 24;  // of a channel count, height or width

struct Shape {
  int64_t channels, height, width;

  bool known() const { return channels >= 0 && height >= 0 && width >= 0; }
  int64_t pixels() const { return height * width; }
  int64_t pitch() const { return plane_pitch(pixels()); }
  int64_t floats() const { return round_up(channels, kDenseRows) * pitch(); }  // kernels write whole groups of rows
  int64_t values() const { return known() ? channels * pixels() : kUnknown; }
  bool operator==(const Shape& other) const {
    return channels == other.channels && height == other.height && width == other.width;
  }
  bool operator!=(const Shape& other) const { return !(*this == other); }
};

// Equal, as far as both are known.
inline bool may_equal(int64_t a, int64_t b) { return a == b || a == kUnknown || b == kUnknown; }

struct Activations {
  float* data;
  Shape shape;

  int64_t pitch() const { return shape.pitch(); }
  float* plane(int64_t channel) const { return data + channel * pitch(); }
};

}  // namespace paddle_unstructured
