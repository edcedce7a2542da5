// SPDX-License-Identifier: Apache-2.0
// Depthwise 3x3 and 5x5, stride 1 and 2, straight from the plane; depthwise_any.inl has the others.
//
//   for each channel                                                  depthwise_planes
//     for each `Rows` output rows                                     rows_of_outputs
//       for each vector of columns                                    column_of_outputs
//         sums[Rows] = bias
//         for each input row that they reach: x[Kernel] = its pixels under each tap      load_row
//           for each of the output rows that it reaches: sums[r] += tap[i][j] * x[j]
//         output = clamp(sums)                                        store_row
//
// An input row is loaded once for all the output rows it reaches; lanes outside the plane are masked away.

#include "depthwise_any.inl"

namespace paddle_unstructured::f32 {
namespace {

template <int Kernel>
struct Filter {
  Vec tap[Kernel][Kernel];
  Vec bias, low, high;
};

template <int Kernel>
PU_INLINE Filter<Kernel> load_filter(const Depthwise& task, int32_t channel) {
  Filter<Kernel> filter;
  const float* const weight = task.weight + static_cast<ptrdiff_t>(channel) * Kernel * Kernel;
  for (int i = 0; i < Kernel; ++i)
    for (int j = 0; j < Kernel; ++j) filter.tap[i][j] = broadcast(weight[i * Kernel + j]);
  filter.bias = broadcast(task.bias[channel]);
  filter.low = broadcast(task.low);
  filter.high = broadcast(task.high);
  return filter;
}

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

// At the edges without branches, as where the edge is changes with every group of rows.
template <int Kernel, int Stride, int Rows, Edge Place>
PU_INLINE void column_of_outputs(const Depthwise& task, const Filter<Kernel>& filter, const float* plane, float* output,
                                 int32_t row, int32_t column) {
  const Window& w = task.window;
  const int32_t top = row * Stride - w.pad_top, left = column * Stride - w.pad_left;
  Lanes inside[Kernel] = {};
  if (Place != Edge::kInside)
    for (int j = 0; j < Kernel; ++j) inside[j] = lanes_inside<Stride>(left + j, w.width);
  Vec sums[Rows];
  for (int r = 0; r < Rows; ++r) sums[r] = filter.bias;
  PU_UNROLL(16)
  for (int i = 0; i < (Rows - 1) * Stride + Kernel; ++i) {
    const int32_t y = top + i;
    const bool exists = Place == Edge::kInside || (y >= 0 && y < w.height);
    Vec x[Kernel];
    load_row<Kernel, Stride, Place>(plane + static_cast<ptrdiff_t>(exists ? y : 0) * w.width, left, inside,
                                    all_lanes_if(exists), x);
    PU_UNROLL(8)
    for (int r = 0; r < Rows; ++r) {
      const int tap_row = i - r * Stride;
      if (tap_row < 0 || tap_row >= Kernel) continue;
      PU_UNROLL(5)
      for (int j = 0; j < Kernel; ++j) sums[r] += filter.tap[tap_row][j] * x[j];
    }
  }
  for (int r = 0; r < Rows; ++r)
    store_row(task, output, static_cast<ptrdiff_t>(row + r - task.first_row) * w.output_width + column,
              clamp(sums[r], filter.low, filter.high));
}

template <int Kernel, int Stride, int Rows>
PU_INLINE void rows_of_outputs(const Depthwise& task, const Filter<Kernel>& filter, const float* plane, float* output,
                               int32_t row) {
  const Window& w = task.window;
  const int32_t top = row * Stride - w.pad_top;
  if (Stride == 1 && w.width <= kLanes && w.width == w.output_width && w.pad_left == Kernel / 2)
    return column_of_outputs<Kernel, 1, Rows, Edge::kOneWide>(task, filter, plane, output, row, 0);
  const bool rows_inside = top >= 0 && top + (Rows - 1) * Stride + Kernel <= w.height;
  for (int32_t next = 0; next < w.output_width; next += kLanes) {
    // The last vector of a long row overlaps the one before it.
    const int32_t column = w.output_width < kLanes ? 0 : least(next, w.output_width - kLanes);
    const int32_t left = column * Stride - w.pad_left;
    if (rows_inside && left >= 0 && left + Stride * (kLanes - 1) + Kernel <= w.width)
      column_of_outputs<Kernel, Stride, Rows, Edge::kInside>(task, filter, plane, output, row, column);
    else
      column_of_outputs<Kernel, Stride, Rows, Edge::kMasked>(task, filter, plane, output, row, column);
  }
}

template <int Kernel, int Stride, int Rows>
void depthwise_planes(const Depthwise& task) {
  const int32_t first = task.first_row, last = task.last_row;
  for (int32_t channel = task.first; channel < task.last; ++channel) {
    const Filter<Kernel> filter = load_filter<Kernel>(task, channel);
    const float* const plane = task.input.data + channel * task.input.pitch;
    float* const output = task.output + channel * task.output_pitch;
    if (last - first < Rows) {
      for (int32_t row = first; row < last; ++row) rows_of_outputs<Kernel, Stride, 1>(task, filter, plane, output, row);
      continue;
    }
    // The last group begins early enough to be whole; a row that is computed twice costs less than a group of one.
    for (int32_t row = first; row < last; row += Rows)
      rows_of_outputs<Kernel, Stride, Rows>(task, filter, plane, output, least(row, last - Rows));
  }
}

// Seven rows at a time suit the planes of nets for 224 x 224 pixels, and load less than four do.
template <int Stride>
void depthwise3(const Depthwise& task) {
  if constexpr (kLanes == 16) {
    if ((task.last_row - task.first_row) % 7 == 0) return depthwise_planes<3, Stride, 7>(task);
    depthwise_planes<3, Stride, 4>(task);
  } else {
    depthwise_planes<3, Stride, 2>(task);
  }
}

void depthwise(const Depthwise& task) {
  const bool one = task.window.stride_width == 1;
  if (is_square(task.window, 3)) return one ? depthwise3<1>(task) : depthwise3<2>(task);
  if (is_square(task.window, 5)) return one ? depthwise_planes<5, 1, 2>(task) : depthwise_planes<5, 2, 2>(task);
  return one ? depthwise_any<1>(task) : depthwise_any<2>(task);
}

}  // namespace
}  // namespace paddle_unstructured::f32
