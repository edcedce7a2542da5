// SPDX-License-Identifier: Apache-2.0
// The panel of a convolution: for a run of output pixels, the four channels of a group under every kernel tap. What
// lies outside the plane is the input's zero point.
//
//   for each panel row k = (ky, kx, group)                            pack
//     for each run of pixels that lie in one output row               for_each_run
//       for each vector of the run                                    copy_run
//         panel[k][pixel] = plane[group][y * stride + ky][x * stride + kx], or zero points beyond the edge

namespace paddle_unstructured::int8 {
namespace {

constexpr int kMostPackVectors = 8;  // of a tile of any kernel

// Lanes whose column lies in [0, width), else `beyond`; reads `stride` vectors.
PU_INLINE IntVec load_within(const int32_t* row, int32_t column, int32_t stride, int32_t width, IntVec beyond) {
  const float* const from = reinterpret_cast<const float*>(row + column);
  const IntVec columns = lane_numbers() * stride + column;
  const IntVec inside = (columns >= 0) & (columns < width);
  return reinterpret_cast<IntVec>(
      choose(inside, stride == 1 ? load(from) : load_even(from), reinterpret_cast<Vec>(beyond)));
}

PU_INLINE void copy_run(const Pack& task, const int32_t* plane, int ky, int kx, Run run, int32_t* to) {
  const Window& w = task.window;
  const IntVec beyond = broadcast_int(four_times(task.zero));
  const int32_t y = run.row * w.stride_height - w.pad_top + ky * w.dilation_height;
  const int32_t x = run.column * w.stride_width - w.pad_left + kx * w.dilation_width;
  if (y < 0 || y >= w.height || run.row >= w.output_height) {
    for (int32_t i = 0; i < run.length; i += kLanes) store_ints(to + i, beyond);
    return;
  }
  const int32_t* const row = plane + static_cast<ptrdiff_t>(y) * w.width;
  if (w.stride_width > 2) {
    for (int32_t i = 0; i < run.length; ++i) {
      const int32_t column = x + i * w.stride_width;
      to[i] = column >= 0 && column < w.width ? row[column] : beyond[0];
    }
    return;
  }
  const int32_t last = (kLanes - 1) * w.stride_width;
  for (int32_t i = 0; i < run.length; i += kLanes) {
    const int32_t column = x + i * w.stride_width;
    if (column >= 0 && column + last < w.width) {
      const float* const from = reinterpret_cast<const float*>(row + column);
      store(reinterpret_cast<float*>(to + i), w.stride_width == 1 ? load(from) : load_even(from));
    } else {
      const bool reaches = column < w.width && column + last >= 0;
      store_ints(to + i, reaches ? load_within(row, column, w.stride_width, w.width, beyond) : beyond);
    }
  }
}

void pack_plain(const Pack& task) {
  auto* to = reinterpret_cast<int32_t*>(task.panel);
  for (int32_t k = task.first; k < task.last; ++k) {
    const auto* from = reinterpret_cast<const int32_t*>(task.input.data + k * task.input.pitch) + task.pixel;
    for (int32_t v = 0; v < task.vectors; ++v, to += kLanes)
      store_aligned_ints(to, load_aligned_ints(from + v * kLanes));
  }
}

// Stride 1, and rows of the output as long as the input's: the input pixel under a tap is the same step away for all.
PU_INLINE bool is_shifted(const Window& w) {
  return w.stride_height == 1 && w.stride_width == 1 && w.output_width == w.width;
}

// Where the output pixels of a tile lie; those beyond the plane, so far away that no tap reaches the input.
template <int Vectors>
struct PixelPlaces {
  IntVec row[Vectors], column[Vectors];

  explicit PU_INLINE PixelPlaces(const Pack& task) {
    constexpr int32_t kFarAway = -(1 << 24);
    const Window& w = task.window;
    alignas(64) int32_t rows[Vectors * kLanes], columns[Vectors * kLanes];
    auto y = static_cast<int32_t>(task.pixel / w.output_width), x = static_cast<int32_t>(task.pixel % w.output_width);
    for (int32_t i = 0; i < Vectors * kLanes; ++i) {
      rows[i] = y < w.output_height ? y : kFarAway;
      columns[i] = x;
      if (++x == w.output_width) x = 0, ++y;
    }
    for (int v = 0; v < Vectors; ++v) {
      row[v] = load_aligned_ints(rows + v * kLanes);
      column[v] = load_aligned_ints(columns + v * kLanes);
    }
  }

  // Lanes whose pixel has an input pixel `down` rows and `right` columns away.
  PU_INLINE Lanes inside(const Window& w, int v, int32_t down, int32_t right) const {
    const IntVec y = row[v] + down, x = column[v] + right;
    return lanes_where((y >= 0) & (y < w.height) & (x >= 0) & (x < w.width));
  }
};

struct PackShifted {
  const Pack& task;

  template <int Vectors>
  void with() const {
    const Window& w = task.window;
    const PixelPlaces<Vectors> places(task);
    const IntVec beyond = broadcast_int(four_times(task.zero));
    uint8_t* to = task.panel;
    for (int32_t k = task.first; k < task.last;) {
      const int32_t tap = k / task.groups, end = least(task.last, (tap + 1) * task.groups);
      const int32_t down = tap / w.kernel_width * w.dilation_height - w.pad_top;
      const int32_t right = tap % w.kernel_width * w.dilation_width - w.pad_left;
      const ptrdiff_t step = (task.pixel + static_cast<ptrdiff_t>(down) * w.width + right) * kGroup;
      const uint8_t* from = task.input.data + (k - tap * task.groups) * task.input.pitch + step;
      Lanes inside[Vectors];
      bool all_reach = true;
      for (int v = 0; v < Vectors; ++v) {
        inside[v] = places.inside(w, v, down, right);
        all_reach = all_reach && any(inside[v]);
      }
      if (all_reach) {
        for (; k < end; ++k, from += task.input.pitch, to += Vectors * kLanes * kGroup) {
          PU_UNROLL(8)
          for (int v = 0; v < Vectors; ++v)
            store_aligned_ints(to + v * kLanes * kGroup, load_inside(from + v * kLanes * kGroup, inside[v], beyond));
        }
        continue;
      }
      for (; k < end; ++k, from += task.input.pitch)  // a vector without any such pixel may lie beyond all guards
        for (int v = 0; v < Vectors; ++v, to += kLanes * kGroup)
          store_aligned_ints(to, any(inside[v]) ? load_inside(from + v * kLanes * kGroup, inside[v], beyond) : beyond);
    }
  }
};

void pack(const Pack& task) {
  const Window& w = task.window;
  if (is_plain(w)) return pack_plain(task);
  if (is_shifted(w)) return with_constant<kMostPackVectors>(task.vectors, PackShifted{task});
  const int32_t pixels = task.vectors * kLanes;
  auto* row = reinterpret_cast<int32_t*>(task.panel);
  for (int32_t k = task.first; k < task.last; ++k, row += pixels) {
    const int32_t tap = k / task.groups, ky = tap / w.kernel_width, kx = tap % w.kernel_width;
    const auto* const plane = reinterpret_cast<const int32_t*>(task.input.data + k % task.groups * task.input.pitch);
    for_each_run(w, task.pixel, pixels, row, [&](Run run, int32_t* to) { copy_run(task, plane, ky, kx, run, to); });
  }
}

}  // namespace
}  // namespace paddle_unstructured::int8
