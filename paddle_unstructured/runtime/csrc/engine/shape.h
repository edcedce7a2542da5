// SPDX-License-Identifier: Apache-2.0
// Sizes of one sample's activation.
#pragma once

#include <cstdint>

#include "../kernels/planes.h"

namespace paddle_unstructured {

constexpr int64_t kUnknown = -1;                // a size that is known at run time only
constexpr int64_t kLargest = int64_t{1} << 24;  // of a channel count, height or width

struct Shape {
  int64_t channels, height, width;

  bool known() const { return channels >= 0 && height >= 0 && width >= 0; }
  int64_t pixels() const { return height * width; }
  int64_t pitch() const { return plane_pitch(pixels()); }
  int64_t groups() const { return (channels + kGroup - 1) / kGroup; }
  int64_t pairs() const { return (channels + 1) / 2; }
  int64_t values() const { return known() ? channels * pixels() : kUnknown; }
  bool operator==(const Shape& other) const {
    return channels == other.channels && height == other.height && width == other.width;
  }
  bool operator!=(const Shape& other) const { return !(*this == other); }
};

// Equal, as far as both are known.
inline bool may_equal(int64_t a, int64_t b) { return a == b || a == kUnknown || b == kUnknown; }

}  // namespace paddle_unstructured
