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
  IntVec bias, low;
  Vec scale, zero, high;
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
  filter.high = broadcast(static_cast<float>(task.finish.high));
  return filter;
}

struct Strip {  // output rows [first, last) of one group, and the padded input rows above them
  const Band8& band;
  const uint8_t* input;
  uint8_t* output;   // of the whole plane
  int64_t pixels;    // of the output plane and its padding
  int32_t width, first, last;
};

// Rows are stored in order, so where a row is shorter than what is stored, the next one overwrites the surplus; only
// what would reach beyond the plane is cut off.
template <int Vectors>
PU_INLINE void store_pixels(const Strip& strip, int64_t at, IntVec bytes) {
  const int64_t count = Vectors * kPixelLanes, left = strip.pixels - at;
  __builtin_memcpy(strip.output + at * kGroup, &bytes, static_cast<size_t>((left < count ? left : count) * kGroup));
}

// `Vectors` vectors of outputs in each of `Rows` rows, from `row` and `column` on.
template <int Kernel, int Stride, int Rows, int Vectors>
PU_INLINE void square_of_outputs(const Strip& strip, const Filter<Kernel>& filter, int32_t row, int32_t column) {
  const uint8_t* const from =
      strip.input + (static_cast<ptrdiff_t>(row - strip.first) * Stride * strip.band.width + column * Stride) * kGroup;
  IntVec sums[Rows][4] = {};
  PU_UNROLL(4)
  for (int r = 0; r < Rows; ++r)
    PU_UNROLL(4)
    for (int v = 0; v < Vectors; ++v) sums[r][v] = filter.bias;
  PU_UNROLL(16)
  for (int i = 0; i < (Rows - 1) * Stride + Kernel; ++i)
    PU_UNROLL(4)
    for (int v = 0; v < Vectors; ++v)
      PU_UNROLL(2)
      for (int j = 0; j < Filter<Kernel>::kWords; ++j) {
        const ptrdiff_t pixel = static_cast<ptrdiff_t>(i) * strip.band.width + v * kPixelLanes * Stride + j * 4;
        const Pixels x = taps<Stride>(from + pixel * kGroup);
        PU_UNROLL(4)
        for (int r = 0; r < Rows; ++r) {
          const int tap_row = i - r * Stride;
          if (tap_row >= 0 && tap_row < Kernel) sums[r][v] = dot(sums[r][v], x, filter.tap[tap_row][j]);
        }
      }
  PU_UNROLL(4)
  for (int r = 0; r < Rows; ++r) {
    PU_UNROLL(4)
    for (int v = 0; v < Vectors; ++v)
      sums[r][v] = quantized(fused(floats(sums[r][v]), filter.scale, filter.zero), filter.high);
    store_pixels<Vectors>(strip, static_cast<int64_t>(row + r) * strip.width + column,
                          at_least(in_order(sums[r][0], sums[r][1], sums[r][2], sums[r][3]), filter.low));
  }
}

template <int Kernel, int Stride, int Rows>
PU_INLINE void rows_of_outputs(const Strip& strip, const Filter<Kernel>& filter, int32_t row) {
  constexpr int32_t kHalf = kStripPixels / 2;
  int32_t column = 0;
  for (; column + kStripPixels <= strip.width; column += kStripPixels)
    square_of_outputs<Kernel, Stride, Rows, 4>(strip, filter, row, column);
  const int32_t left = strip.width - column;
  if (left == 0) return;
  // What is left of a long row overlaps what is done; a short one spills over.
  if (left <= kHalf)
    square_of_outputs<Kernel, Stride, Rows, 2>(strip, filter, row, most(0, strip.width - kHalf));
  else
    square_of_outputs<Kernel, Stride, Rows, 4>(strip, filter, row, most(0, strip.width - kStripPixels));
}

// Input rows under the output rows of the strip, with the padding around them.
void copy_rows(const Depthwise8& task, const Band8& band, const int32_t* plane, int32_t first, int32_t last) {
  const Window& w = task.window;
  auto* to = reinterpret_cast<int32_t*>(task.scratch);
  const int32_t beyond = four_times(task.zero);
  const int32_t top = first * w.stride_height - w.pad_top;
  const int32_t rows = (last - first - 1) * w.stride_height + w.kernel_height;
  for (int32_t y = top; y < top + rows; ++y, to += band.width) {
    const bool inside = y >= 0 && y < w.height;
    const int32_t left = inside ? w.pad_left : band.width, right = inside ? left + w.width : band.width;
    for (int32_t i = 0; i < left; ++i) to[i] = beyond;
    if (inside) std::memcpy(to + left, plane + static_cast<ptrdiff_t>(y) * w.width, static_cast<size_t>(w.width) * 4);
    for (int32_t i = right; i < band.width; ++i) to[i] = beyond;
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

template <int Kernel, int Stride>
void depthwise_groups(const Depthwise8& task) {
  const Window& w = task.window;
  const Band8 band = depthwise8_band(w);
  for (int32_t group = task.first; group < task.last; ++group) {
    const Filter<Kernel> filter = load_filter<Kernel>(task, group);
    const auto* const plane = reinterpret_cast<const int32_t*>(w.input + group * w.pitch);
    for (int32_t first = 0; first < w.output_height; first += band.rows) {
      const int32_t last = least(first + band.rows, w.output_height);
      copy_rows(task, band, plane, first, last);
      strip_of_outputs<Kernel, Stride>(
          {band, task.scratch, task.output + group * task.output_pitch, task.output_pitch / kGroup, w.output_width, first, last},
          filter);
    }
  }
}

void depthwise(const Depthwise8& task) {
  const bool three = task.window.kernel_height == 3, one = task.window.stride_height == 1;
  if (three) return one ? depthwise_groups<3, 1>(task) : depthwise_groups<3, 2>(task);
  return one ? depthwise_groups<5, 1>(task) : depthwise_groups<5, 2>(task);
}

}  // namespace
}  // namespace paddle_unstructured
