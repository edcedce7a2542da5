// SPDX-License-Identifier: Apache-2.0
// Matrices for processors that multiply whole matrices at once: 16 outputs by 16 words of weights, four int8 or two
// bfloat16 to a word.
#pragma once

#include "planes.h"

namespace paddle_unstructured {

// A tile of pixels has kTileVectors vectors at most, and its whole depth is one block.
constexpr int kTileOutputs = 16, kTileDepth = 16, kTileVectors = 4;

// Row i of [first, last), of kTileOutputs outputs each, has chunks [start[i], start[i + 1]). A chunk is kTileDepth
// panel rows for these outputs: value[chunk][output][panel row], words of weights, zeros where there is none.
struct TileRows {
  const int32_t* start;
  int32_t first, last;
  const uint16_t* column;  // of the panel rows of each chunk; null: a row has all, in order. Readable beyond the last
  const int32_t* value;    // on 64 bytes
  int32_t depth;           // panel rows in all
};

}  // namespace paddle_unstructured
