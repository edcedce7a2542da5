// SPDX-License-Identifier: Apache-2.0
// The shapes of what meets in one value, and how planes are shared out among threads.
#pragma once

#include "../operation.h"

namespace paddle_unstructured {

// Of a + b; both the same, as far as they are known.
Shape shape_of_sum(const std::vector<Shape>& inputs);
// Of two values each of whose sizes is equal or 1 in one of them.
Shape shape_of_pair(const std::vector<Shape>& inputs);
// Of a * b: the same shapes, or one of them a single pixel (squeeze-and-excite).
Shape shape_of_product(const std::vector<Shape>& inputs);
// Side by side in channels.
Shape shape_of_concat(const std::vector<Shape>& inputs);

constexpr int64_t kGrain = 4096;  // pixels that are worth a task of their own

inline int64_t plane_grain(const Shape& shape) { return kGrain / shape.pitch() + 1; }

}  // namespace paddle_unstructured
