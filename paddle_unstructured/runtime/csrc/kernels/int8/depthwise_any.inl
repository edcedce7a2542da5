// SPDX-License-Identifier: Apache-2.0
// Depthwise of any other window whose columns have stride 1 or 2: strides that differ, dilations, 7x7, 1x3, ...
//
//   for each group of 4 channels                                      depthwise_any
//     for each output row
//       for each square of columns                                    any_square
//         sums[4 vectors] = bias
//         for each word of taps: x = the pixels under them, of a channel in a word; sums += x . taps
//         output = saturated rint(fma(sums, scale, zero))             finished, store_square
//
// A word holds four neighbouring taps, or one where the columns are dilated.

namespace paddle_unstructured::int8 {
namespace {

constexpr int kPixelLanes = kLanes / kGroup;  // pixels of one vector of sums: a lane for each channel

// What four channels need beside their taps. `Swish`: a hard-swish follows. The kernels without one must not pay for
// it: its constants would take the filter's registers.
template <bool Swish>
struct Terms {
  IntVec bias, beyond;
  Vec scale, zero;
  ByteClamp clamp;
  Requantization finish;
};

template <bool Swish>
PU_INLINE Terms<Swish> load_terms(const Depthwise& task, int32_t group) {
  Terms<Swish> terms;
  terms.bias = repeated(task.bias + group * kGroup);
  terms.beyond = broadcast_int(four_times(task.zero));
  terms.scale = reinterpret_cast<Vec>(repeated(reinterpret_cast<const int32_t*>(task.finish.scale) + group * kGroup));
  terms.zero = broadcast(task.finish.zero);
  terms.clamp = clamp_of(task.finish);
  if (Swish) terms.finish = task.finish;
  return terms;
}

// The bytes of the sums of `Vectors` vectors.
template <int Vectors, bool Swish>
PU_INLINE IntVec finished(const IntVec (&sums)[4], const Terms<Swish>& terms) {
  IntVec whole[4] = {};
  PU_UNROLL(4)
  for (int v = 0; v < Vectors; ++v) {
    const Vec real = fused(floats(sums[v]), terms.scale, terms.zero);
    whole[v] = quantized(Swish ? hard_swished(real, terms.finish) : real);
  }
  return clamped(in_order(whole[0], whole[1], whole[2], whole[3]), terms.clamp);
}

struct Group {  // of one group
  const uint8_t* input;
  uint8_t* output;
  int64_t pixels;  // of the output plane and its padding
};

// In rows that are shorter than a square the next row overwrites the surplus; what would reach beyond the plane is cut
// off (masked stores are slow). In longer ones the next square does, and the last one stores what it has to.
template <int Pixels, int Square>
PU_INLINE void store_square(const Group& planes, int64_t at, IntVec bytes, bool exact) {
  uint8_t* const to = planes.output + at * kGroup;
  if (exact) {
    store_last<Square>(to, bytes);
  } else if (at + Pixels <= planes.pixels) {
    std::memcpy(to, &bytes, Pixels * kGroup);
  } else {
    store_first(reinterpret_cast<float*>(to), reinterpret_cast<Vec>(bytes), static_cast<int>(planes.pixels - at));
  }
}

template <int Stride, bool Swish>
PU_INLINE void any_square(const Depthwise& task, const Group& planes, const int32_t* filter, const Terms<Swish>& terms,
                          int32_t row, int32_t column) {
  constexpr int kParts = reach_parts(Stride, 4), kStep = reach_step(Stride), kSquare = square_pixels(5, Stride);
  const Window& w = task.window;
  const int32_t top = row * w.stride_height - w.pad_top, left = column * Stride - w.pad_left;
  const int32_t words = depthwise_words(w.kernel_width, w.dilation_width), step = depthwise_step(w.dilation_width);
  const bool inside = left >= 0 && left + (words - 1) * step + (kParts - 1) * kStep + kLanes <= w.width;
  IntVec sums[4];
  for (int v = 0; v < 4; ++v) sums[v] = terms.bias;
  for (int32_t i = 0; i < w.kernel_height; ++i) {
    const int32_t y = top + i * w.dilation_height;
    const bool exists = y >= 0 && y < w.height;
    const uint8_t* const line = planes.input + static_cast<ptrdiff_t>(exists ? y : 0) * w.width * kGroup;
    for (int32_t j = 0; j < words; ++j) {
      IntVec reach[kParts];
      PU_UNROLL(4)
      for (int p = 0; p < kParts; ++p) {
        const int32_t x = left + j * step + p * kStep;
        if (inside && exists)
          reach[p] = load_ints(line + x * kGroup);
        else if (exists && x > -kLanes && x < w.width)
          reach[p] = load_inside(line + x * kGroup, lanes_between(-x, w.width - x), terms.beyond);
        else
          reach[p] = terms.beyond;
      }
      const Weights word = weights(repeated(filter + (i * words + j) * kGroup));
      PU_UNROLL(4)
      for (int v = 0; v < 4; ++v) sums[v] = dot(sums[v], taps<Stride>(reach, v), word);
    }
  }
  store_square<4 * kPixelLanes, kSquare>(planes, static_cast<int64_t>(row) * w.output_width + column,
                                         finished<4>(sums, terms), w.output_width >= kSquare);
}

template <int Stride, bool Swish>
void depthwise_any(const Depthwise& task) {
  constexpr int32_t kSquare = square_pixels(5, Stride);  // as many as a word of four taps leaves
  const Window& w = task.window;
  const ptrdiff_t size = ptrdiff_t{w.kernel_height} * depthwise_words(w.kernel_width, w.dilation_width) * kGroup;
  for (int32_t group = task.first; group < task.last; ++group) {
    const Terms<Swish> terms = load_terms<Swish>(task, group);
    const Group planes{task.input.data + group * task.input.pitch, task.output + group * task.output_pitch,
                       task.output_pitch / kGroup};
    for (int32_t row = 0; row < w.output_height; ++row)
      for (int32_t column = 0; column < w.output_width; column += kSquare)
        any_square<Stride>(task, planes, task.weight + group * size, terms, row,
                           most(0, least(column, w.output_width - kSquare)));
  }
}

}  // namespace
}  // namespace paddle_unstructured::int8
