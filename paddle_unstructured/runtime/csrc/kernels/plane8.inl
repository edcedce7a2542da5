// Everything on bytes that is not a convolution: quantization, sums, products, tables, pooling.

namespace paddle_unstructured {
namespace {

// NaN becomes the zero point.
PU_INLINE IntVec quantized_input(Vec x, Vec inverse, Vec zero) {
  return quantized(minimum(fused(keep(x, lanes_of_numbers(x)), inverse, zero), broadcast(255.0f)));
}

template <int Planes>
void quantize_planes(const float* const planes[4], float inverse, float zero, uint8_t* output, int64_t pixels) {
  const Vec by = broadcast(inverse), to = broadcast(zero);
  for (int64_t i = 0; i < pixels; i += kLanes) {
    IntVec q[4];
    PU_UNROLL(4)
    for (int c = 0; c < 4; ++c) q[c] = c < Planes ? quantized_input(load(planes[c] + i), by, to) : q[Planes - 1];
    store_aligned_ints(output + i * kGroup, interleaved(pair(q[0], q[1]), pair(q[2], q[3])));
  }
}

void quantize_group(const float* const planes[4], float inverse, float zero, uint8_t* output, int64_t pixels) {
  const bool three = planes[3] == planes[2];  // as images have
  (three ? quantize_planes<3> : quantize_planes<4>)(planes, inverse, zero, output, pixels);
}

void quantize(const float* input, float inverse, float zero, uint8_t* output, int64_t count) {
  const Vec by = broadcast(inverse), to = broadcast(zero);
  for (int64_t i = 0; i < count; i += kLanes)
    narrow(output + i, quantized_input(load(input + i), by, to), IntVec{}, broadcast_int(255));
}

void dequantize_plane(const uint8_t* group, int32_t channel, float scale, int32_t zero, float* output,
                      int64_t pixels) {
  const Vec by = broadcast(scale);
  for (int64_t i = 0; i < pixels; i += kLanes) {
    const IntVec q = (load_aligned_ints(group + i * kGroup) >> 8 * channel) & 255;
    store_aligned(output + i, floats(q - zero) * by);
  }
}

void dequantize(const uint8_t* input, float scale, int32_t zero, float* output, int64_t count) {
  const Vec by = broadcast(scale);
  for (int64_t i = 0; i < count; i += kLanes) store(output + i, floats(widened(input + i) - zero) * by);
}

void requantize(const int32_t* sums, const Requantization& finish, uint8_t* output, int64_t count) {
  const Vec zero = broadcast(finish.zero);
  const IntVec low = broadcast_int(finish.low), high = broadcast_int(finish.high);
  for (int64_t i = 0; i < count; i += kLanes)
    narrow(output + i, quantized(fused(floats(load_ints(sums + i)), load(finish.scale + i), zero)), low, high);
}

void real_row(const int32_t* sums, float scale, float low, float high, float* output, int64_t count) {
  const Vec by = broadcast(scale), least_value = broadcast(low), most_value = broadcast(high);
  for (int64_t i = 0; i < count; i += kLanes)
    store(output + i, clamp(floats(load_ints(sums + i)) * by, least_value, most_value));
}

void real_vector(const int32_t* sums, const float* scale, float low, float high, float* output, int64_t count) {
  const Vec least_value = broadcast(low), most_value = broadcast(high);
  for (int64_t i = 0; i < count; i += kLanes)
    store(output + i, clamp(floats(load_ints(sums + i)) * load(scale + i), least_value, most_value));
}

void add(const Addition8& task, const uint8_t* a, const uint8_t* b, uint8_t* output, int64_t count) {
  const Vec by_a = broadcast(task.by_a), by_b = broadcast(task.by_b), offset = broadcast(task.offset);
  const IntVec low = broadcast_int(task.low), high = broadcast_int(task.high);
  for (int64_t i = 0; i < count; i += kLanes) {
    const Vec real = fused(floats(widened(a + i)), by_a, fused(floats(widened(b + i)), by_b, offset));
    narrow(output + i, quantized(real), low, high);
  }
}

struct Product {
  Vec scale, zero;
  IntVec zero_a, zero_b, low, high;

  PU_INLINE Product of(const Multiplication8& task) {
    return {broadcast(task.scale), broadcast(task.zero), broadcast_int(task.zero_a), broadcast_int(task.zero_b),
            broadcast_int(task.low), broadcast_int(task.high)};
  }
  PU_INLINE void store(const Product& self, IntVec a, IntVec centered_b, uint8_t* to) {
    const Vec real = fused(floats((a - self.zero_a) * centered_b), self.scale, self.zero);
    narrow(to, quantized(real), self.low, self.high);
  }
};

void multiply(const Multiplication8& task, const uint8_t* a, const uint8_t* b, uint8_t* output, int64_t count) {
  const Product product = product.of(task);
  for (int64_t i = 0; i < count; i += kLanes)
    product.store(product, widened(a + i), widened(b + i) - product.zero_b, output + i);
}

void multiply_group(const Multiplication8& task, const uint8_t* a, const uint8_t* b, uint8_t* output, int64_t count) {
  const Product product = product.of(task);
  const int32_t four[4] = {b[0], b[1], b[2], b[3]};
  const IntVec factor = repeated(four) - product.zero_b;
  for (int64_t i = 0; i < count; i += kLanes) product.store(product, widened(a + i), factor, output + i);
}

void lookup(const uint8_t* table, const uint8_t* input, uint8_t* output, int64_t count) {
  int64_t i = 0;
#ifdef __AVX512VBMI__
  __m512i part[4];
  for (int p = 0; p < 4; ++p) part[p] = _mm512_loadu_si512(table + 64 * p);
  for (; i + 64 <= count; i += 64) {
    const __m512i q = _mm512_loadu_si512(input + i);
    const __m512i low = _mm512_permutex2var_epi8(part[0], q, part[1]);
    const __m512i high = _mm512_permutex2var_epi8(part[2], q, part[3]);
    _mm512_storeu_si512(output + i, _mm512_mask_blend_epi8(_mm512_movepi8_mask(q), low, high));
  }
#endif
  for (; i < count; ++i) output[i] = table[input[i]];
}

void sum(const uint8_t* group, int64_t pixels, int32_t* sums) {
  IntVec total[4] = {};
  Weights one[4];
  PU_UNROLL(4)
  for (int c = 0; c < 4; ++c) one[c] = weights(broadcast_int(1 << 8 * c));
  int64_t i = 0;
  for (; i + kLanes <= pixels; i += kLanes) {
    const Pixels four = ::paddle_unstructured::pixels(load_ints(group + i * kGroup));
    PU_UNROLL(4)
    for (int c = 0; c < 4; ++c) total[c] = dot(total[c], four, one[c]);
  }
  for (int c = 0; c < 4; ++c) {
    sums[c] = 0;
    for (int lane = 0; lane < kLanes; ++lane) sums[c] += total[c][lane];
    for (int64_t left = i; left < pixels; ++left) sums[c] += group[left * kGroup + c];
  }
}

// ---- pooling -----------------------------------------------------------------------------------------------------

struct Reach {  // of one window, inside the plane
  int32_t top, bottom, left, right;
};

PU_INLINE Reach reach_of(const Window& w, int32_t row, int32_t column) {
  const int32_t y = row * w.stride_height - w.pad_top, x = column * w.stride_width - w.pad_left;
  return {most(y, 0), least(y + w.kernel_height, w.height), most(x, 0), least(x + w.kernel_width, w.width)};
}

// Like Paddle, a mean over padding counts the padding, but not what a ceiled output reaches beyond it.
int32_t pixels_counted(const Pool8& task, int32_t row, int32_t column, const Reach& reach) {
  const Window& w = task.window;
  if (task.exclusive) return (reach.bottom - reach.top) * (reach.right - reach.left);
  const int32_t y = row * w.stride_height - w.pad_top, x = column * w.stride_width - w.pad_left;
  return (least(y + w.kernel_height, w.height + w.pad_top) - y) *
         (least(x + w.kernel_width, w.width + w.pad_left) - x);
}

void pool_pixel(const Pool8& task, const uint8_t* plane, int32_t row, int32_t column, uint8_t* output) {
  const Reach reach = reach_of(task.window, row, column);
  int32_t best[4] = {}, sums[4] = {};
  for (int32_t i = reach.top; i < reach.bottom; ++i)
    for (int32_t j = reach.left; j < reach.right; ++j)
      for (int c = 0; c < 4; ++c) {
        const int32_t q = plane[(static_cast<ptrdiff_t>(i) * task.window.width + j) * kGroup + c];
        best[c] = most(best[c], q);
        sums[c] += q - task.input_zero;
      }
  const int32_t counted = most(pixels_counted(task, row, column, reach), 1);
  const float scale = task.maximum ? 0.0f : static_cast<float>(task.input_scale / (counted * task.output_scale));
  for (int c = 0; c < 4; ++c) {
    const float real = __builtin_fmaf(static_cast<float>(sums[c]), scale, task.zero);
    const float rounded = __builtin_rintf(real < 0.0f ? 0.0f : real > 255.0f ? 255.0f : real);
    output[c] = static_cast<uint8_t>(task.maximum ? best[c] : static_cast<int32_t>(rounded));
  }
}

// Whole vectors of a row of maxima, stride 1 or 2, while the window stays inside the plane's columns.
int32_t maxima(const Window& w, const uint8_t* plane, int32_t row, int32_t column, uint8_t* output) {
  for (; column + kLanes <= w.output_width; column += kLanes) {
    const int32_t x = column * w.stride_width - w.pad_left;
    if (x < 0 || x + (kLanes - 1) * w.stride_width + w.kernel_width > w.width) break;
    const Reach reach = reach_of(w, row, column);
    IntVec best{};
    for (int32_t i = reach.top; i < reach.bottom; ++i)
      for (int32_t j = 0; j < w.kernel_width; ++j) {
        const auto* const from = reinterpret_cast<const float*>(plane) + static_cast<ptrdiff_t>(i) * w.width + x + j;
        best = at_least(best, reinterpret_cast<IntVec>(w.stride_width == 1 ? load(from) : load_even(from)));
      }
    store_ints(output + column * kGroup, best);
  }
  return column;
}

void pool(const Pool8& task) {
  const Window& w = task.window;
  const bool fast = task.maximum && w.stride_width <= 2;
  for (int32_t group = task.first; group < task.last; ++group) {
    const auto* const plane = reinterpret_cast<const uint8_t*>(w.input + group * w.pitch);
    uint8_t* output = task.output + group * task.output_pitch;
    for (int32_t row = 0; row < w.output_height; ++row, output += w.output_width * kGroup)
      for (int32_t column = 0; column < w.output_width; ++column) {
        if (fast) column = maxima(w, plane, row, column, output);
        if (column < w.output_width) pool_pixel(task, plane, row, column, output + column * kGroup);
      }
  }
}

}  // namespace
}  // namespace paddle_unstructured
