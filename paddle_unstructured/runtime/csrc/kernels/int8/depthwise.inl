// SPDX-License-Identifier: Apache-2.0
// Depthwise 3x3 and 5x5, stride 1 and 2, straight from the plane; depthwise_any.inl has the others.
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

#include "depthwise_any.inl"

namespace paddle_unstructured::int8 {
namespace {

template <int Kernel, bool Swish>
struct Filter {
  static constexpr int kWords = (Kernel + 3) / 4;
  Weights tap[Kernel][kWords];
  Terms<Swish> terms;
};

template <int Kernel, bool Swish>
PU_INLINE Filter<Kernel, Swish> load_filter(const Depthwise& task, int32_t group) {
  constexpr int kWords = Filter<Kernel, Swish>::kWords;
  Filter<Kernel, Swish> filter;
  const int32_t* const weight = task.weight + static_cast<ptrdiff_t>(group) * Kernel * kWords * kGroup;
  for (int i = 0; i < Kernel; ++i)
    for (int j = 0; j < kWords; ++j) filter.tap[i][j] = weights(repeated(weight + (i * kWords + j) * kGroup));
  filter.terms = load_terms<Swish>(task, group);
  return filter;
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
  for (int v = 0; v < Vectors; ++v) sums[r][v] = filter.terms.bias;
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
        reach[p] = Edge ? load_inside(at, inside[j][p] & any, filter.terms.beyond) : load_ints(at);
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
  for (int r = 0; r < Rows; ++r)
    store_square<Vectors * kPixelLanes, kSquare>(planes, static_cast<int64_t>(row + r) * w.output_width + column,
                                                 finished<Vectors>(sums[r], filter.terms),
                                                 Edge && w.output_width >= kSquare);
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
  const bool one = task.window.stride_width == 1;
  if (is_square(task.window, 3)) return one ? depthwise_groups<3, 1, Swish>(task) : depthwise_groups<3, 2, Swish>(task);
  if (is_square(task.window, 5)) return one ? depthwise_groups<5, 1, Swish>(task) : depthwise_groups<5, 2, Swish>(task);
  return one ? depthwise_any<1, Swish>(task) : depthwise_any<2, Swish>(task);
}

void depthwise(const Depthwise& task) {
  return task.finish.swish != 0 ? depthwise_by_size<true>(task) : depthwise_by_size<false>(task);
}

}  // namespace
}  // namespace paddle_unstructured::int8
