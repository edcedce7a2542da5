// Depthwise 3x3 and 5x5 on bytes. One shuffle brings four neighbouring pixels of a channel into a lane, where one `dot`
// multiplies them with a row of the filter (a 3x3 filter has a zero in the fourth place; 5x5 takes a second word). A
// few rows at a time are copied into a padded strip, so that no window has to look for an edge.

namespace paddle_unstructured {
namespace {

constexpr int kPixelLanes = kLanes / kGroup;  // pixels of one vector of sums: a lane for each channel
constexpr int kStripPixels = 4 * kPixelLanes;  // outputs that are computed together

template <int Kernel>
struct Filter {
  static constexpr int kWords = (Kernel + 3) / 4;
  Weights tap[Kernel][kWords];
  IntVec bias, low, high;
  Vec scale, zero;
};

template <int Kernel>
PU_INLINE Filter<Kernel> load_filter(const Depthwise8& task, int32_t group) {
  constexpr int kWords = Filter<Kernel>::kWords;
  Filter<Kernel> filter;
  const int32_t* const weight = task.weight + static_cast<ptrdiff_t>(group) * Kernel * kWords * kGroup;
  for (int i = 0; i < Kernel; ++i)
    for (int j = 0; j < kWords; ++j) filter.tap[i][j] = weights(repeated(weight + (i * kWords + j) * kGroup));
  filter.bias = repeated(task.bias + group * kGroup);
  filter.low = broadcast_int(four_times(static_cast<uint8_t>(task.finish.low)));
  filter.scale = reinterpret_cast<Vec>(repeated(reinterpret_cast<const int32_t*>(task.finish.scale) + group * kGroup));
  filter.zero = broadcast(task.finish.zero);
  filter.high = broadcast_int(four_times(static_cast<uint8_t>(task.finish.high)));
  return filter;
}

struct Strip {  // output rows [first, last) of one group, and the padded input rows above them
  const uint8_t* input;
  uint8_t* output;   // of the whole plane
  int64_t pixels;    // of the output plane and its padding
  int32_t band_width;  // of a padded row
  int32_t width, first, last;
};

// Rows are stored in order, so where a row is shorter than what is stored, the next one overwrites the surplus; only
// what would reach beyond the plane is cut off (masked stores are slow).
template <int Vectors>
PU_INLINE void store_pixels(const Strip& strip, int64_t at, IntVec bytes) {
  constexpr int kPixels = Vectors * kPixelLanes;
  uint8_t* const to = strip.output + at * kGroup;
  if (at + kPixels <= strip.pixels) {
    std::memcpy(to, &bytes, kPixels * kGroup);
  } else {
    store_first(reinterpret_cast<float*>(to), reinterpret_cast<Vec>(bytes), static_cast<int>(strip.pixels - at));
  }
}

// `Vectors` vectors of outputs in each of `Rows` rows, at `from` in the strip.
template <int Kernel, int Stride, int Rows, int Vectors>
PU_INLINE void square_of_outputs(const Strip& strip, const Filter<Kernel>& filter, const uint8_t* from, int64_t to) {
  const ptrdiff_t row_bytes = static_cast<ptrdiff_t>(strip.band_width) * kGroup;
  IntVec sums[Rows][4] = {};
  PU_UNROLL(4)
  for (int r = 0; r < Rows; ++r)
    PU_UNROLL(4)
    for (int v = 0; v < Vectors; ++v) sums[r][v] = filter.bias;
  PU_UNROLL(16)
  for (int i = 0; i < (Rows - 1) * Stride + Kernel; ++i, from += row_bytes)
    PU_UNROLL(4)
    for (int v = 0; v < Vectors; ++v)
      PU_UNROLL(2)
      for (int j = 0; j < Filter<Kernel>::kWords; ++j) {
        const Pixels x = taps<Stride>(from + (v * kPixelLanes * Stride + j * 4) * kGroup);
        PU_UNROLL(4)
        for (int r = 0; r < Rows; ++r) {
          const int tap_row = i - r * Stride;
          if (tap_row >= 0 && tap_row < Kernel) sums[r][v] = dot(sums[r][v], x, filter.tap[tap_row][j]);
        }
      }
  PU_UNROLL(4)
  for (int r = 0; r < Rows; ++r) {
    PU_UNROLL(4)
    for (int v = 0; v < Vectors; ++v) sums[r][v] = quantized(fused(floats(sums[r][v]), filter.scale, filter.zero));
    const IntVec bytes = in_order(sums[r][0], sums[r][1], sums[r][2], sums[r][3]);
    store_pixels<Vectors>(strip, to + r * strip.width, at_most(at_least(bytes, filter.low), filter.high));
  }
}

// Squares side by side from column `first` on. A function of its own, so that it has all registers for the filter.
template <int Kernel, int Stride, int Rows, int Vectors>
__attribute__((noinline)) void squares_of_outputs(const Strip& given, const Filter<Kernel>& kept, int32_t row,
                                                  int32_t first, int32_t last) {
  const Strip strip = given;
  const Filter<Kernel> filter = kept;
  const ptrdiff_t above = static_cast<ptrdiff_t>(row - strip.first) * Stride;  // rows
  const uint8_t* const from = strip.input + above * strip.band_width * kGroup;
  for (int32_t column = first; column < last; column += Vectors * kPixelLanes)
    square_of_outputs<Kernel, Stride, Rows, Vectors>(strip, filter, from + column * Stride * kGroup,
                                                     static_cast<int64_t>(row) * strip.width + column);
}

template <int Kernel, int Stride, int Rows>
PU_INLINE void rows_of_outputs(const Strip& strip, const Filter<Kernel>& filter, int32_t row) {
  constexpr int32_t kHalf = kStripPixels / 2;
  const int32_t whole = strip.width / kStripPixels * kStripPixels, left = strip.width - whole;
  if (whole > 0) squares_of_outputs<Kernel, Stride, Rows, 4>(strip, filter, row, 0, whole);
  if (left == 0) return;
  // What is left of a long row overlaps what is done; a short one spills over.
  const int32_t first = most(0, strip.width - (left <= kHalf ? kHalf : kStripPixels));
  if (left <= kHalf)
    squares_of_outputs<Kernel, Stride, Rows, 2>(strip, filter, row, first, first + 1);
  else
    squares_of_outputs<Kernel, Stride, Rows, 4>(strip, filter, row, first, first + 1);
}

// Whole vectors of one value; what they spill behind is written later.
PU_INLINE void fill(int32_t* to, int32_t pixels, IntVec value) {
  for (int32_t i = 0; i < pixels; i += kLanes) store_ints(to + i, value);
}

// Input rows under the output rows of the strip, with the padding around them; in order, and in whole vectors: what is
// filled in behind one row is the padding before the next.
void copy_rows(const Depthwise8& task, const Band8& band, const int32_t* plane, int32_t first, int32_t last,
               uint8_t* strip) {
  const Window& w = task.window;
  const IntVec beyond = broadcast_int(four_times(task.zero));
  const int32_t top = first * w.stride_height - w.pad_top;
  const int32_t rows = (last - first - 1) * w.stride_height + w.kernel_height;
  int32_t* to = reinterpret_cast<int32_t*>(strip) + band.first;
  fill(to, w.pad_left, beyond);
  to += w.pad_left;
  for (int32_t y = top; y < top + rows; ++y, to += band.width) {
    if (y < 0 || y >= w.height) {
      fill(to, band.width, beyond);
      continue;
    }
    const int32_t* const from = plane + static_cast<ptrdiff_t>(y) * w.width;
    for (int32_t i = 0; i < w.width; i += kLanes) store_ints(to + i, load_ints(from + i));
    fill(to + w.width, band.width - w.width, beyond);
  }
}

template <int Kernel, int Stride>
PU_INLINE void strip_of_outputs(const Strip& strip, const Filter<Kernel>& filter) {
  constexpr int kRows = kLanes == 16 ? (Stride == 1 && Kernel == 3 ? 4 : 2) : kLanes == 8 ? 2 : 1;
  if (strip.last - strip.first < kRows) {
    for (int32_t row = strip.first; row < strip.last; ++row) rows_of_outputs<Kernel, Stride, 1>(strip, filter, row);
    return;
  }
  // The last group begins early enough to be whole; a row that is computed twice costs less than a group of one.
  for (int32_t row = strip.first; row < strip.last; row += kRows)
    rows_of_outputs<Kernel, Stride, kRows>(strip, filter, least(row, strip.last - kRows));
}

// One strip is copied while the one before is computed: a load that meets several stores on their way has to wait.
template <int Kernel, int Stride>
void depthwise_groups(const Depthwise8& task) {
  const Window& w = task.window;
  const Band8 band = depthwise8_band(w);
  const int32_t bands = (w.output_height + band.rows - 1) / band.rows;
  const int64_t strip_bytes = depthwise8_scratch(w) / 2;
  const auto strip_of = [&](int64_t job) {
    const auto group = static_cast<int32_t>(job / bands), first = static_cast<int32_t>(job % bands) * band.rows;
    return Strip{task.scratch + job % 2 * strip_bytes + band.first * kGroup, task.output + group * task.output_pitch,
                 task.output_pitch / kGroup, band.width, w.output_width, first,
                 least(first + band.rows, w.output_height)};
  };
  const auto copy = [&](int64_t job) {
    const Strip strip = strip_of(job);
    const auto* const plane = reinterpret_cast<const int32_t*>(w.input + job / bands * w.pitch);
    copy_rows(task, band, plane, strip.first, strip.last, task.scratch + job % 2 * strip_bytes);
  };
  const int64_t first = int64_t{task.first} * bands, last = int64_t{task.last} * bands;
  if (first < last) copy(first);
  for (int64_t job = first; job < last; ++job) {
    if (job + 1 < last) copy(job + 1);
    strip_of_outputs<Kernel, Stride>(strip_of(job), load_filter<Kernel>(task, static_cast<int32_t>(job / bands)));
  }
}

void depthwise(const Depthwise8& task) {
  const bool three = task.window.kernel_height == 3, one = task.window.stride_height == 1;
  if (three) return one ? depthwise_groups<3, 1>(task) : depthwise_groups<3, 2>(task);
  return one ? depthwise_groups<5, 1>(task) : depthwise_groups<5, 2>(task);
}

}  // namespace
}  // namespace paddle_unstructured
