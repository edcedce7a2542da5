// SPDX-License-Identifier: Apache-2.0
// Four channels, wherever they lie, as the four lanes of one group.
#pragma once

#include "operation.h"

namespace paddle_unstructured::int8 {

struct Channel {
  const Value* value;
  int64_t number;
};

// All pixels of a group of the output, of whose lanes the first `lanes` exist; the others may hold anything.
void gather_lanes(const Channel (&channels)[kGroup], int64_t lanes, int64_t pixels, uint8_t* group);

// All groups of the output; channel(c) says where its channel c comes from.
template <typename Function>
void gather_channels(const Context& context, const Function& channel) {
  const Shape& shape = context.output.shape;
  context.share_range(shape.groups(), plane_grain(shape), [&](int64_t first, int64_t last) {
    for (int64_t group = first; group < last; ++group) {
      Channel channels[kGroup];
      for (int64_t lane = 0; lane < kGroup; ++lane)
        channels[lane] = channel(std::min(group * kGroup + lane, shape.channels - 1));
      gather_lanes(channels, std::min<int64_t>(kGroup, shape.channels - group * kGroup), shape.pixels(),
                   context.output.group(group));
    }
  });
}

}  // namespace paddle_unstructured::int8
