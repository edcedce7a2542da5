// SPDX-License-Identifier: Apache-2.0
// Maxima over windows of stride 1 or 2, of both channels of a pair.
//
//   for each pair, each output row, each vector of columns                               maxima
//     for each tap inside the plane's rows: best = larger(best, plane[tap])              pixels beyond its columns:
//     -inf

namespace paddle_unstructured::bf16 {
namespace {

PU_INLINE Vec larger(Vec a, Vec b) { return b != b ? b : maximum(a, b); }  // a NaN stays

template <bool Inside>  // whether all taps of all lanes are in the plane's columns
PU_INLINE IntVec maxima(const Window& w, const int32_t* plane, int32_t row, int32_t column) {
  constexpr uint32_t kLeast = 0xff80ff80;  // -infinity, twice
  const IntVec beyond = int8::broadcast_int(static_cast<int32_t>(kLeast));
  const Reach reach = reach_of(w, row, column);
  const int32_t left = column * w.stride_width - w.pad_left;
  Vec low = low_of(beyond), high = high_of(beyond);
  for (int32_t i = reach.top; i < reach.bottom; ++i)
    for (int32_t j = 0; j < w.kernel_width; ++j) {
      const int32_t* const from = plane + ptrdiff_t{i} * w.width;
      const IntVec words = Inside ? int8::load_strided(from + left + j, w.stride_width)
                                  : int8::load_within(from, left + j, w.stride_width, w.width, beyond);
      low = larger(low, low_of(words));
      high = larger(high, high_of(words));
    }
  return words_of(low, high);
}

PU_INLINE IntVec maxima(const Window& w, const int32_t* plane, int32_t row, int32_t column) {
  const int32_t left = column * w.stride_width - w.pad_left;
  const bool inside = left >= 0 && left + (kLanes - 1) * w.stride_width + w.kernel_width <= w.width;
  return inside ? maxima<true>(w, plane, row, column) : maxima<false>(w, plane, row, column);
}

void pool(const Pool& task) {
  const Window& w = task.window;
  const ptrdiff_t pixels = ptrdiff_t{w.output_height} * w.output_width;
  for (int32_t pair = task.first; pair < task.last; ++pair) {
    const auto* const plane = reinterpret_cast<const int32_t*>(task.input.data + pair * task.input.pitch);
    auto* const output = reinterpret_cast<float*>(task.output + pair * task.output_pitch);
    const int32_t there = 2 * pair + 1 < task.channels ? -1 : 0xffff;  // a window without pixels is infinite
    for (int32_t row = 0; row < w.output_height; ++row)
      for (int32_t column = 0; column < w.output_width; column += kLanes) {  // the next row overwrites the surplus
        const ptrdiff_t at = ptrdiff_t{row} * w.output_width + column;
        const IntVec words = maxima(w, plane, row, column) & there;
        store_first(output + at, reinterpret_cast<Vec>(words), static_cast<int>(pixels - at));
      }
  }
}

}  // namespace
}  // namespace paddle_unstructured::bf16
