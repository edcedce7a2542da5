// SPDX-License-Identifier: Apache-2.0
#include "lanes.h"

#include <cstring>

namespace paddle_unstructured::int8 {

typedef uint32_t __attribute__((may_alias)) Word;

void gather_lanes(const Channel (&channels)[kGroup], int64_t lanes, int64_t pixels, uint8_t* group) {
  const Word* from[kGroup];
  int shift[kGroup];
  bool together = true;
  for (int64_t lane = 0; lane < kGroup; ++lane) {
    from[lane] = reinterpret_cast<const Word*>(channels[lane].value->group(channels[lane].number / kGroup));
    shift[lane] = static_cast<int>(channels[lane].number % kGroup * 8);
    together = together && (lane >= lanes || (from[lane] == from[0] && shift[lane] == lane * 8));
  }
  Word* const to = reinterpret_cast<Word*>(group);
  if (together) {
    std::memcpy(to, from[0], static_cast<size_t>(pixels) * sizeof *to);
    return;
  }
  const Word *a = from[0], *b = from[1], *c = from[2], *d = from[3];
  for (int64_t i = 0; i < pixels; ++i)
    to[i] = (a[i] >> shift[0] & 255) | (b[i] >> shift[1] & 255) << 8 | (c[i] >> shift[2] & 255) << 16 |
            (d[i] >> shift[3] & 255) << 24;
}

}  // namespace paddle_unstructured::int8
