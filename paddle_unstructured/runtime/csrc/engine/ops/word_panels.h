// SPDX-License-Identifier: Apache-2.0
// What panels of words are packed from: the planes of the input as they lie; or, for a window of stride 2, its even and
// odd pixels apart, so that a tap reads neighbours.
#pragma once

#include "../../kernels/words.h"
#include "../context.h"
#include "../window.h"
#include "shapes.h"

namespace paddle_unstructured {

struct WordSource {
  words::Planes planes;
  Window window;
  bool split;
};

// Rows of phases have to be as long as those of the output.
inline bool splits(const WindowSize& w, const Shape& input, const Shape& output) {
  return w.stride[0] == 2 && w.stride[1] == 2 && w.kernel[0] <= words::kMostTaps && w.kernel[1] <= words::kMostTaps &&
         output.width == (input.width + 1) / 2;
}

inline int64_t phase_words(const Shape& input, const Shape& output) {
  return round_up((input.height + 1) / 2 * output.width, kPlaneAlign) + kPlaneAlign;
}

// That all phases need; 0 if there are none.
inline int64_t split_words(const WindowSize& w, const Shape& input, int64_t groups, const Shape& output) {
  return splits(w, input, output) ? 4 * groups * phase_words(input, output) : 0;
}

// Lays the input apart, if that is to be, to `room`.
inline WordSource word_source(const Context& context, const WindowSize& size, int64_t groups,
                              void (*split)(const words::Split&), uint8_t* room) {
  const Value& input = context.inputs[0];
  const words::Planes planes{input.bytes(), static_cast<ptrdiff_t>(input.group_pitch())};
  WordSource source{planes, size.bind(input.shape, context.output.shape), false};
  if (!splits(size, input.shape, context.output.shape)) return source;
  words::Split task{};
  task.input = planes;
  task.window = source.window;
  for (int32_t ky = 0; ky < source.window.kernel_height; ++ky)
    task.rows[(ky * source.window.dilation_height - source.window.pad_top) & 1] = true;
  for (int32_t kx = 0; kx < source.window.kernel_width; ++kx)
    task.columns[(kx * source.window.dilation_width - source.window.pad_left) & 1] = true;
  task.groups = static_cast<int32_t>(groups);
  task.output = room;
  task.output_pitch = static_cast<ptrdiff_t>(phase_words(input.shape, context.output.shape)) * kPixelBytes;
  context.share_task(task, groups, plane_grain(input.shape), split);
  source.planes = {task.output, task.output_pitch};
  source.split = true;
  return source;
}

}  // namespace paddle_unstructured
