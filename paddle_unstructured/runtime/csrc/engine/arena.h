// SPDX-License-Identifier: Apache-2.0
// Where the values of one sample lie: one piece of memory, in which values that are not needed at the same time share
// their place. Laid out at run time, for the height and width that came.
#pragma once

#include <vector>

#include "memory.h"
#include "shape.h"

namespace paddle_unstructured {

// Value `i` is made by step `i` and read last by step `last_use[i]`. It lies where `takes_place_of[i]` did, an earlier
// value that this step reads last, if there is one.
struct Lifetimes {
  static constexpr int64_t kNever = -1;  // the value is not made, and gets no place
  static constexpr int64_t kNobody = -1;
  std::vector<int64_t> last_use;
  std::vector<int64_t> takes_place_of;
};

struct Layout {
  std::vector<int64_t> offset;  // bytes, of each value
  int64_t bytes;                // of the arena, guards included
};

// `sizes`: bytes of each value.
Layout lay_out(const std::vector<int64_t>& sizes, const Lifetimes& lifetimes);

// Grows only. Zeroed when it grows, so that guards and padding always hold numbers.
class Arena {
 public:
  void reserve(int64_t bytes);
  uint8_t* data() const { return memory_.data(); }

 private:
  AlignedArray<uint8_t> memory_;
  int64_t bytes_ = 0;
};

}  // namespace paddle_unstructured
