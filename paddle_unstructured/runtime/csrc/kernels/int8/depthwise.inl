// SPDX-License-Identifier: Apache-2.0
// Depthwise 3x3 and 5x5, stride 1 and 2, straight from the plane.
//
//   for each group of 4 channels                                      depthwise_groups
//     for each `Rows` output rows                                     rows_of_outputs
//       for each square: kSquare columns of each                      squares_of_outputs, square_of_outputs
//         sums[Rows][4 vectors] = bias
//         for each input row that they reach: load what the square's windows reach
//           for each vector of outputs: x = four neighbouring pixels of a channel in a word        taps
//             for each of the output rows that it reaches: sums[r] += x . tap[i]     dot: a row of the filter
//         output = saturated rint(fma(sums, scale, zero))             store_square   (hard-swish before it is rounded)
//
// A 3x3 filter has a zero in the fourth place of a word; 5x5 takes a second word. An input row is loaded once for all
// the output rows it reaches, and a square is made from as few loads as hold what its windows reach.

namespace paddle_unstructured::int8 {
namespace {

constexpr int kPixelLanes = kLanes / kGroup;  // pixels of one vector of sums: a lane for each channel

// `Swish`: a hard-swish follows. The kernels without one must not pay for it: its constants would take the filter's
// registers.
template <int Kernel, bool Swish>
struct Filter {
  static constexpr int kWords = (Kernel + 3) / 4;
  Weights tap[Kernel][kWords];
  IntVec bias, beyond;
  Vec scale, zero;
  ByteClamp clamp;
  Requantization finish;
};

template <int Kernel, bool Swish>
PU_INLINE Filter<Kernel, Swish> load_filter(const Depthwise& task, int32_t group) {
  constexpr int kWords = Filter<Kernel, Swish>::kWords;
  Filter<Kernel, Swish> filter;
  const int32_t* const weight = task.weight + static_cast<ptrdiff_t>(group) * Kernel * kWords * kGroup;
  for (int i = 0; i < Kernel; ++i)
    for (int j = 0; j < kWords; ++j) filter.tap[i][j] = weights(repeated(weight + (i * kWords + j) * kGroup));
  filter.bias = repeated(task.bias + group * kGroup);
  filter.beyond = broadcast_int(four_times(task.zero));
  filter.scale = reinterpret_cast<Vec>(repeated(reinterpret_cast<const int32_t*>(task.finish.scale) + group * kGroup));
  filter.zero = broadcast(task.finish.zero);
  filter.clamp = clamp_of(task.finish);
  if (Swish) filter.finish = task.finish;
  return filter;
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

// `Vectors` vectors of outputs in each of `Rows` rows. `Edge`: some windows may reach beyond the plane.
template <int Kernel, int Stride, int Rows, int Vectors, bool Edge, bool Swish>
PU_INLINE void square_of_outputs(const Window& w, const Group& planes, const Filter<Kernel, Swish>& filter, int32_t row,
                                 int32_t column) {
  constexpr int kWords = Filter<Kernel, Swish>::kWords, kSquare = square_pixels(Kernel, Stride);
  constexpr int kParts = reach_parts(Stride, Vectors), kStep = reach_step(Stride);
  const int32_t top = row * Stride - w.pad_top, left = column * Stride - w.pad_left;
  Lanes inside[kWords][kParts] = {};
  if (Edge) PU_UNROLL(2)
  for (int j = 0; j < kWords; ++j) PU_UNROLL(4)
  for (int p = 0; p < kParts; ++p) {
    const int32_t first = left + j * 4 + p * kStep;
    inside[j][p] = lanes_between(-first, w.width - first);
  }
  IntVec sums[Rows][4] = {};
  PU_UNROLL(4)
  for (int r = 0; r < Rows; ++r) PU_UNROLL(4)
  for (int v = 0; v < Vectors; ++v) sums[r][v] = filter.bias;
  PU_UNROLL(16)
  for (int i = 0; i < (Rows - 1) * Stride + Kernel; ++i) {
    const int32_t y = top + i;
    const bool exists = !Edge || (y >= 0 && y < w.height);
    const Lanes any = all_lanes_if(exists);
    const uint8_t* const from = planes.input + (static_cast<ptrdiff_t>(exists ? y : 0) * w.width + left) * kGroup;
    PU_UNROLL(2)
    for (int j = 0; j < kWords; ++j) {
      IntVec reach[kParts];
      PU_UNROLL(4)
      for (int p = 0; p < kParts; ++p) {
        const uint8_t* const at = from + (j * 4 + p * kStep) * kGroup;
        reach[p] = Edge ? load_inside(at, inside[j][p] & any, filter.beyond) : load_ints(at);
      }
      PU_UNROLL(4)
      for (int v = 0; v < Vectors; ++v) {
        const Pixels x = taps<Stride>(reach, v);
        PU_UNROLL(4)
        for (int r = 0; r < Rows; ++r) {
          const int tap_row = i - r * Stride;
          if (tap_row >= 0 && tap_row < Kernel) sums[r][v] = dot(sums[r][v], x, filter.tap[tap_row][j]);
        }
      }
    }
  }
  PU_UNROLL(4)
  for (int r = 0; r < Rows; ++r) {
    PU_UNROLL(4)
    for (int v = 0; v < Vectors; ++v) {
      const Vec real = fused(floats(sums[r][v]), filter.scale, filter.zero);
      sums[r][v] = quantized(Swish ? hard_swished(real, filter.finish) : real);
    }
    const IntVec bytes = in_order(sums[r][0], sums[r][1], sums[r][2], sums[r][3]);
    store_square<Vectors * kPixelLanes, kSquare>(planes, static_cast<int64_t>(row + r) * w.output_width + column,
                                                 clamped(bytes, filter.clamp), Edge && w.output_width >= kSquare);
  }
}

// Squares side by side from column `first` on; the last one begins at `most_column` at the latest. A function of its
// own, so that it has all registers for the filter.
template <int Kernel, int Stride, int Rows, int Vectors, bool Edge, bool Swish>
__attribute__((noinline)) void squares_of_outputs(const Window& window, const Group& given,
                                                  const Filter<Kernel, Swish>& kept, int32_t row, int32_t first,
                                                  int32_t last, int32_t most_column) {
  const Window w = window;
  const Group planes = given;
  const Filter<Kernel, Swish> filter = kept;
  for (int32_t column = first; column < last; column += square_pixels(Kernel, Stride))
    square_of_outputs<Kernel, Stride, Rows, Vectors, Edge>(w, planes, filter, row, least(column, most_column));
}

template <int Kernel, int Stride, int Rows, bool Swish>
PU_INLINE void rows_of_outputs(const Window& w, const Group& planes, const Filter<Kernel, Swish>& filter, int32_t row) {
  constexpr int32_t kSquare = square_pixels(Kernel, Stride);
  const int32_t width = w.output_width, most_column = most(0, width - kSquare);
  if (width <= 2 * kPixelLanes)
    return squares_of_outputs<Kernel, Stride, Rows, 2, true>(w, planes, filter, row, 0, 1, 0);
  // Squares [begin, end) touch no edge, and what they store in surplus stays in their row.
  const int32_t top = row * Stride - w.pad_top;
  const int32_t begin = (w.pad_left + kSquare * Stride - 1) / (kSquare * Stride) * kSquare;
  const bool rows_inside = top >= 0 && top + (Rows - 1) * Stride + Kernel <= w.height;
  const int32_t stored_inside = width - (4 * kPixelLanes - kSquare);
  const int32_t end = least(stored_inside, (w.width + w.pad_left - Kernel) / Stride + 1) / kSquare * kSquare;
  if (!rows_inside || begin >= end)
    return squares_of_outputs<Kernel, Stride, Rows, 4, true>(w, planes, filter, row, 0, width, most_column);
  squares_of_outputs<Kernel, Stride, Rows, 4, true>(w, planes, filter, row, 0, begin, most_column);
  squares_of_outputs<Kernel, Stride, Rows, 4, false>(w, planes, filter, row, begin, end, most_column);
  squares_of_outputs<Kernel, Stride, Rows, 4, true>(w, planes, filter, row, end, width, most_column);
}

template <int Kernel, int Stride, bool Swish>
void depthwise_groups(const Depthwise& task) {
  constexpr int kRows = kLanes == 16 ? (Kernel == 3 ? 4 : 2) : kLanes == 8 ? 2 : 1;
  constexpr int kFew = kRows > 1 ? kRows / 2 : 1;
  const Window& w = task.window;
  for (int32_t group = task.first; group < task.last; ++group) {
    const Filter<Kernel, Swish> filter = load_filter<Kernel, Swish>(task, group);
    const Group planes{task.input.data + group * task.input.pitch, task.output + group * task.output_pitch,
                       task.output_pitch / kGroup};
    // The last rows begin early enough to be as many as a function makes; a row made twice costs less than one alone.
    for (int32_t row = 0; row < w.output_height; row += kRows) {
      const int32_t left = w.output_height - row;
      if (left > kFew && w.output_height >= kRows)
        rows_of_outputs<Kernel, Stride, kRows>(w, planes, filter, least(row, w.output_height - kRows));
      else if (w.output_height >= kFew)
        for (int32_t few = row; few < w.output_height; few += kFew)
          rows_of_outputs<Kernel, Stride, kFew>(w, planes, filter, least(few, w.output_height - kFew));
      else
        rows_of_outputs<Kernel, Stride, 1>(w, planes, filter, row);
    }
  }
}

template <bool Swish>
void depthwise_by_size(const Depthwise& task) {
  const bool three = task.window.kernel_height == 3, one = task.window.stride_height == 1;
  if (three) return one ? depthwise_groups<3, 1, Swish>(task) : depthwise_groups<3, 2, Swish>(task);
  return one ? depthwise_groups<5, 1, Swish>(task) : depthwise_groups<5, 2, Swish>(task);
}

void depthwise(const Depthwise& task) {
  return task.finish.swish != 0 ? depthwise_by_size<true>(task) : depthwise_by_size<false>(task);
}

}  // namespace
}  // namespace paddle_unstructured::int8
