// SPDX-License-Identifier: Apache-2.0
// What the operations on int8 have in common.
#pragma once

#include <algorithm>

#include "../../quantization.h"
#include "../shapes.h"

namespace paddle_unstructured::int8 {

// Calls function(first byte, count) over all bytes of a value.
template <typename Function>
void share_bytes(const Context& context, const Value& value, const Function& function) {
  constexpr int64_t kGrainBytes = kGrain * kPixelBytes;
  constexpr int64_t kUnit = 64;  // a run of bytes begins on a multiple of it
  const int64_t bytes = value.shape.groups() * value.group_pitch();
  context.share_range((bytes + kUnit - 1) / kUnit, kGrainBytes / kUnit, [&](int64_t first, int64_t last) {
    function(first * kUnit, std::min(last * kUnit, bytes) - first * kUnit);
  });
}

inline Planes planes_of(const Value& value) { return {value.bytes(), static_cast<ptrdiff_t>(value.group_pitch())}; }

}  // namespace paddle_unstructured::int8
