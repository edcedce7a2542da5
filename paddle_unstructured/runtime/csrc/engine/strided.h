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

}  // namespace paddle_unstructured
