// SPDX-License-Identifier: Apache-2.0
// Copies of words of four bytes (a float32, or a pixel of four int8 channels) between any two orders.
//
//   for each place of all axes but two: a row, or a block of a transposition
#pragma once

#include <cstdint>
#include <vector>

#include "context.h"

namespace paddle_unstructured {

struct Stride {
  int64_t extent;
  int64_t from, to;  // words between neighbours; `from` may be 0 or negative
};

// Both sides must hold whole words; `to` must not overlap `from`.
void copy_strided(const Context& context, std::vector<Stride> axes, const void* from, void* to);

// Planes whose rows and columns come from elsewhere in a plane of the same number: rows[y] and columns[x], -1 where
// `fill` is to stand.
struct Remap {
  int64_t planes, from_width, from_pitch, to_pitch;  // words
  std::vector<int32_t> rows, columns;
  uint32_t fill;
};

void remap(const Context& context, const Remap& task, const void* from, void* to);

}  // namespace paddle_unstructured
