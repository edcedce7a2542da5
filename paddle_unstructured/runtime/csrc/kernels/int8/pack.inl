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

constexpr int kMostPackVectors = kSparseVectors1 > 8 ? kSparseVectors1 : 8;  // of a tile of any kernel

// from[0], from[stride], ..., stride 1 or 2; reads `stride` vectors.
PU_INLINE IntVec load_strided(const int32_t* from, int32_t stride) {
  const float* const words = reinterpret_cast<const float*>(from);
  return reinterpret_cast<IntVec>(stride == 1 ? load(words) : load_even(words));
}

// The same where the column lies in [0, width), else `beyond`.
PU_INLINE IntVec load_within(const int32_t* row, int32_t column, int32_t stride, int32_t width, IntVec beyond) {
  const IntVec columns = lane_numbers() * stride + column;
  const IntVec inside = (columns >= 0) & (columns < width);
  const IntVec words = load_strided(row + column, stride);
  return (words & inside) | (beyond & ~inside);
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
      store_ints(to + i, load_strided(row + column, w.stride_width));
    } else {
      const bool reaches = column < w.width && column + last >= 0;
      store_ints(to + i, reaches ? load_within(row, column, w.stride_width, w.width, beyond) : beyond);
    }
  }
}

// A byte of pixels as the kernels multiply it: q - kShift.
PU_INLINE IntVec shifted(IntVec bytes) { return kShift == 0 ? bytes : bytes ^ broadcast_int(four_times(kShift)); }

void pack_plain(const Pack& task) {
  constexpr int kStep = kTogether * kLanes;
  const ptrdiff_t pixels = ptrdiff_t{task.vectors} * kStep;
  auto* to = reinterpret_cast<int32_t*>(task.panel);
  for (int32_t k = task.first; k < task.last; ++k) {
    const auto* from = reinterpret_cast<const int32_t*>(task.input.data + k * task.input.pitch) + task.pixel;
    for (const auto* const end = from + pixels; from < end; from += kStep, to += kStep) {
      IntVec some[kTogether];
      PU_UNROLL(4)
      for (int i = 0; i < kTogether; ++i) some[i] = load_ints(from + i * kLanes);
      PU_UNROLL(4)
      for (int i = 0; i < kTogether; ++i) store_aligned_ints(to + i * kLanes, shifted(some[i]));
    }
  }
}

void shift_panel(const Pack& task) {
  auto* at = reinterpret_cast<int32_t*>(task.panel);
  const int64_t vectors = int64_t{task.last - task.first} * task.vectors * kTogether;
  for (int64_t v = 0; v < vectors; ++v, at += kLanes) store_aligned_ints(at, shifted(load_aligned_ints(at)));
}

void split(const Split& task) {
  const Window& w = task.window;
  for (int32_t group = task.first; group < task.last; ++group)
    for (int32_t y = 0; y < w.height; ++y) {
      if (!task.rows[y % 2]) continue;
      const float* from = reinterpret_cast<const float*>(task.input.data + group * task.input.pitch) +
                          static_cast<ptrdiff_t>(y) * w.width;
      float* to[2];
      for (int x = 0; x < 2; ++x)
        to[x] = reinterpret_cast<float*>(task.output + ((y % 2 * 2 + x) * task.groups + group) * task.output_pitch) +
                static_cast<ptrdiff_t>(y / 2) * w.output_width;
      for (int32_t i = 0; i < w.output_width; i += kLanes, from += 2 * kLanes) {
        const Vec low = load(from), high = load(from + kLanes);
        if (task.columns[0]) store(to[0] + i, evens(low, high));
        if (task.columns[1]) store(to[1] + i, odds(low, high));
      }
    }
}

// The input pixel under a tap is the same step away for all output pixels: stride 1 and rows of the output as long as
// the input's, or phases.
PU_INLINE bool is_shifted(const Pack& task) {
  const Window& w = task.window;
  const bool same = w.stride_height == 1 && w.stride_width == 1 && w.output_width == w.width;
  return task.split || (same && w.kernel_height <= kMostTaps && w.kernel_width <= kMostTaps);
}

// Where a row or column of taps looks: how far away, how far that reaches, and the bytes to there from the pixel.
struct TapPlace {
  int32_t step, length;
  ptrdiff_t bytes;
};

// `phases`: planes of groups between even and odd ones; `stride`: pixels between neighbours.
PU_INLINE TapPlace tap_place(const Pack& task, int32_t offset, int32_t length, int32_t phases, int32_t stride) {
  const int32_t phase = task.split ? offset & 1 : 0, step = task.split ? offset >> 1 : offset;
  return {step, task.split ? (length + 1 - phase) / 2 : length,
          ptrdiff_t{phase} * phases * task.groups * task.input.pitch + ptrdiff_t{step} * stride * kGroup};
}

// Where all rows and columns of taps look, and which of the output pixels of a tile have an input pixel there; none
// beyond the plane has.
template <int Vectors>
struct PixelPlaces {
  struct Taps {
    ptrdiff_t bytes[kMostTaps];
    Lanes inside[kMostTaps][Vectors];
  };
  Taps rows, columns;

  explicit PU_INLINE PixelPlaces(const Pack& task) {
    constexpr int32_t kFarAway = -(1 << 24);
    const Window& w = task.window;
    IntVec row[Vectors], column[Vectors];
    auto y = static_cast<int32_t>(task.pixel / w.output_width), x = static_cast<int32_t>(task.pixel % w.output_width);
    for (int v = 0; v < Vectors; ++v) {
      row[v] = broadcast_int(y);
      column[v] = lane_numbers() + x;
      for (int32_t last = x + kLanes - 1; last >= w.output_width; last -= w.output_width) {
        const IntVec beyond = column[v] >= w.output_width;  // -1 there
        row[v] -= beyond;
        column[v] -= beyond & w.output_width;
      }
      row[v] |= (row[v] >= w.output_height) & kFarAway;
      for (x += kLanes; x >= w.output_width; x -= w.output_width) ++y;
    }
    for (int32_t ky = 0; ky < w.kernel_height; ++ky)
      mark(tap_place(task, ky * w.dilation_height - w.pad_top, w.height, 2, w.output_width), row, ky, &rows);
    for (int32_t kx = 0; kx < w.kernel_width; ++kx)
      mark(tap_place(task, kx * w.dilation_width - w.pad_left, w.width, 1, 1), column, kx, &columns);
  }

 private:
  static PU_INLINE void mark(const TapPlace& place, const IntVec (&places)[Vectors], int32_t tap, Taps* taps) {
    taps->bytes[tap] = place.bytes;
    for (int v = 0; v < Vectors; ++v) {
      const IntVec at = places[v] + place.step;
      taps->inside[tap][v] = lanes_where((at >= 0) & (at < place.length));
    }
  }
};

struct PackShifted {
  const Pack& task;

  template <int Tile>
  void with() const {
    constexpr int Vectors = Tile * kTogether;
    const Window& w = task.window;
    const PixelPlaces<Vectors> places(task);
    const IntVec beyond = broadcast_int(four_times(task.zero));
    const uint8_t* const pixels = task.input.data + task.pixel * kGroup;
    uint8_t* to = task.panel;
    const int32_t first_tap = task.first / task.groups;
    int32_t group = task.first % task.groups;
    int32_t ky = first_tap / w.kernel_width, kx = first_tap % w.kernel_width;
    for (int32_t k = task.first; k < task.last; group = 0) {
      const int32_t end = least(task.last, k + task.groups - group);
      const uint8_t* from = pixels + places.rows.bytes[ky] + places.columns.bytes[kx] + group * task.input.pitch;
      Lanes inside[Vectors];
      bool all_reach = true;
      for (int v = 0; v < Vectors; ++v) {
        inside[v] = static_cast<Lanes>(places.rows.inside[ky][v] & places.columns.inside[kx][v]);
        all_reach = all_reach && any(inside[v]);
      }
      if (++kx == w.kernel_width) {
        kx = 0;
        ++ky;
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

void pack_bytes(const Pack& task) {
  const Window& w = task.window;
  if (is_shifted(task)) return with_constant<kMostPackVectors / kTogether>(task.vectors, PackShifted{task});
  const int32_t pixels = task.vectors * kTogether * kLanes;
  auto* row = reinterpret_cast<int32_t*>(task.panel);
  for (int32_t k = task.first; k < task.last; ++k, row += pixels) {
    const int32_t tap = k / task.groups, ky = tap / w.kernel_width, kx = tap % w.kernel_width;
    const auto* const plane = reinterpret_cast<const int32_t*>(task.input.data + k % task.groups * task.input.pitch);
    for_each_run(w, task.pixel, pixels, row, [&](Run run, int32_t* to) { copy_run(task, plane, ky, kx, run, to); });
  }
}

void pack(const Pack& task) {
  if (is_plain(task.window)) return pack_plain(task);
  pack_bytes(task);
  if (kShift != 0) shift_panel(task);
}

}  // namespace
}  // namespace paddle_unstructured::int8
