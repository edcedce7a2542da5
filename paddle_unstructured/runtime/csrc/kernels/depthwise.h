// SPDX-License-Identifier: Apache-2.0
// One filter for each channel, of float32 or bfloat16.
#pragma once

#include "planes.h"

namespace paddle_unstructured {

// Planes [first, last): channels of float32, or pairs of bfloat16, whose pixels have as many bits. Columns have
// stride 1 or 2; of bfloat16, 3x3 or 5x5 with that stride for both axes, dilation 1.
struct Depthwise {
  const float* input;
  ptrdiff_t input_pitch;  // pixels between planes
  Window window;
  int32_t first_row, last_row;  // of the output
  float* output;                // of first_row
  ptrdiff_t output_pitch;
  const float* weight;  // of each channel, in float32
  const float* bias;
  int32_t first, last;
  float low, high;
};

}  // namespace paddle_unstructured
