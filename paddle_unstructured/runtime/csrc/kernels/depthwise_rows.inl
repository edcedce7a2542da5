// SPDX-License-Identifier: Apache-2.0
// Depthwise 3x3 and 5x5, stride 1 and 2, straight from the plane. A pixel has 32 bits: a float32, or a pair of
// bfloat16.
//
//   for each plane                                                    depthwise_planes
//     for each `Rows` output rows                                     rows_of_outputs
//       for each vector of columns                                    column_of_outputs
//         sums[Rows] = bias
//         for each input row that they reach: x[Kernel] = its pixels under each tap      load_row
//           for each of the output rows that it reaches: sums[r] += tap[i][j] * x[j]
//         output = clamp(sums)                                        store_row
//
// An input row is loaded once for all the output rows it reaches; lanes outside the plane are masked away.

namespace paddle_unstructured {
namespace {

// What a pixel holds is the business of a Filter, the taps of one plane:
//
//   Filter(task, plane)        its taps, bias and bounds
//   Sums, begin()              of one vector of outputs: the bias
//   Row, row(x)                x[Kernel], as `add` wants them
//   add<TapRow>(row, sums)     sums += tap[TapRow][j] * row[j] for j = 0, 1, ...
//   finished(sums)             the vector that is stored, clamped

// How the windows of one vector of outputs lie in the rows of the plane.
enum class Edge {
  kInside,   // nowhere outside
  kMasked,   // maybe outside: lanes are masked away
  kOneWide,  // stride 1, rows as wide as the outputs and not wider than a vector: one load, shifted for each tap
};

// The input under taps j = 0 .. Kernel-1 of kLanes neighbouring outputs; `column` belongs to tap 0 of the first.
template <int Kernel, int Stride, Edge Place>
PU_INLINE void load_row(const float* row, int32_t column, const Lanes (&inside)[Kernel], Lanes exists,
                        Vec (&x)[Kernel]) {
  if (Place == Edge::kOneWide) {
    const Vec whole = keep(load(row), inside[Kernel / 2] & exists);
    PU_UNROLL(5)
    for (int j = 0; j < Kernel; ++j) x[j] = shifted(whole, j - Kernel / 2);
    return;
  }
  PU_UNROLL(5)
  for (int j = 0; j < Kernel; ++j) {
    if (Stride == 1) {
      x[j] = load(row + column + j);
    } else if (j % 2 == 0) {  // two loads serve two taps
      const Vec low = load(row + column + j), high = load(row + column + j + kLanes);
      x[j] = evens(low, high);
      if (j + 1 < Kernel) x[j + 1] = odds(low, high);
    }
  }
  PU_UNROLL(5)
  for (int j = 0; j < Kernel; ++j)
    if (Place == Edge::kMasked) x[j] = keep(x[j], inside[j] & exists);
}

// Rows are stored in order, so where a row is shorter than a vector the next one overwrites the surplus; only what
// would reach beyond the plane is cut off (masked stores are slow).
PU_INLINE void store_row(const Depthwise& task, float* output, ptrdiff_t at, Vec v) {
  if (at + kLanes <= task.output_pitch) {
    store(output + at, v);
  } else {
    const auto left = static_cast<int32_t>(task.output_pitch - at);
    store_first(output + at, v, least(task.window.output_width, left));
  }
}

// At the edges without branches, as where the edge is changes with every group of rows.
template <typename Filter, int Stride, int Rows, Edge Place>
PU_INLINE void column_of_outputs(const Depthwise& task, const Filter& filter, const float* plane, float* output,
                                 int32_t row, int32_t column) {
  constexpr int Kernel = Filter::kKernel;
  const Window& w = task.window;
  const int32_t top = row * Stride - w.pad_top, left = column * Stride - w.pad_left;
  Lanes inside[Kernel] = {};
  if (Place != Edge::kInside)
    for (int j = 0; j < Kernel; ++j) inside[j] = lanes_inside<Stride>(left + j, w.width);
  typename Filter::Sums sums[Rows];
  for (int r = 0; r < Rows; ++r) sums[r] = filter.begin();
  PU_UNROLL(16)
  for (int i = 0; i < (Rows - 1) * Stride + Kernel; ++i) {
    const int32_t y = top + i;
    const bool exists = Place == Edge::kInside || (y >= 0 && y < w.height);
    Vec x[Kernel];
    load_row<Kernel, Stride, Place>(plane + static_cast<ptrdiff_t>(exists ? y : 0) * w.width, left, inside,
                                    all_lanes_if(exists), x);
    const auto pixels = filter.row(x);
    PU_UNROLL(8)
    for (int r = 0; r < Rows; ++r) {
      const int tap_row = i - r * Stride;
      if (tap_row >= 0 && tap_row < Kernel) filter.add(tap_row, pixels, sums[r]);
    }
  }
  for (int r = 0; r < Rows; ++r)
    store_row(task, output, static_cast<ptrdiff_t>(row + r - task.first_row) * w.output_width + column,
              filter.finished(sums[r]));
}

template <typename Filter, int Stride, int Rows>
PU_INLINE void rows_of_outputs(const Depthwise& task, const Filter& filter, const float* plane, float* output,
                               int32_t row) {
  constexpr int Kernel = Filter::kKernel;
  const Window& w = task.window;
  const int32_t top = row * Stride - w.pad_top;
  if (Stride == 1 && w.width <= kLanes && w.width == w.output_width && w.pad_left == Kernel / 2)
    return column_of_outputs<Filter, 1, Rows, Edge::kOneWide>(task, filter, plane, output, row, 0);
  const bool rows_inside = top >= 0 && top + (Rows - 1) * Stride + Kernel <= w.height;
  for (int32_t next = 0; next < w.output_width; next += kLanes) {
    // The last vector of a long row overlaps the one before it.
    const int32_t column = w.output_width < kLanes ? 0 : least(next, w.output_width - kLanes);
    const int32_t left = column * Stride - w.pad_left;
    if (rows_inside && left >= 0 && left + Stride * (kLanes - 1) + Kernel <= w.width)
      column_of_outputs<Filter, Stride, Rows, Edge::kInside>(task, filter, plane, output, row, column);
    else
      column_of_outputs<Filter, Stride, Rows, Edge::kMasked>(task, filter, plane, output, row, column);
  }
}

template <typename Filter, int Stride, int Rows>
void depthwise_planes(const Depthwise& task) {
  const int32_t first = task.first_row, last = task.last_row;
  for (int32_t plane = task.first; plane < task.last; ++plane) {
    const Filter filter(task, plane);
    const float* const pixels = task.input + plane * task.input_pitch;
    float* const output = task.output + plane * task.output_pitch;
    if (last - first < Rows) {
      for (int32_t row = first; row < last; ++row)
        rows_of_outputs<Filter, Stride, 1>(task, filter, pixels, output, row);
      continue;
    }
    // The last group begins early enough to be whole; a row that is computed twice costs less than a group of one.
    for (int32_t row = first; row < last; row += Rows)
      rows_of_outputs<Filter, Stride, Rows>(task, filter, pixels, output, least(row, last - Rows));
  }
}

// Seven rows at a time suit the planes of nets for 224 x 224 pixels, and load less than four do.
template <typename Filter, int Stride>
void depthwise3(const Depthwise& task) {
  if constexpr (kLanes == 16) {
    if ((task.last_row - task.first_row) % 7 == 0) return depthwise_planes<Filter, Stride, 7>(task);
    depthwise_planes<Filter, Stride, 4>(task);
  } else {
    depthwise_planes<Filter, Stride, 2>(task);
  }
}

template <template <int Kernel> typename Filter>
void depthwise_by(const Depthwise& task) {
  const bool three = task.window.kernel_height == 3, one = task.window.stride_height == 1;
  if (three) return one ? depthwise3<Filter<3>, 1>(task) : depthwise3<Filter<3>, 2>(task);
  return one ? depthwise_planes<Filter<5>, 1, 2>(task) : depthwise_planes<Filter<5>, 2, 2>(task);
}

}  // namespace
}  // namespace paddle_unstructured
