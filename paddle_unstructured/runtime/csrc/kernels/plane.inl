// Everything that is not a convolution: pooling, element by element, softmax.

namespace paddle_unstructured {
namespace {

// exp(x) = 2^n * exp(r), |r| <= ln(2)/2, the latter by a polynomial: relative error below 2e-7. Source: Cephes, expf.
PU_INLINE Vec exponential(Vec x) {
  x = clamp(x, broadcast(-87.0f), broadcast(88.0f));
  const Vec magic = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Vec shifted = x * 1.44269504f + magic;
  const Vec n = shifted - magic;
  const Vec r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Vec p = broadcast(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const IntVec exponent = __builtin_convertvector(n, IntVec) + 127;
  return p * reinterpret_cast<Vec>(exponent << 23);
}

PU_INLINE Vec sigmoid(Vec x) { return 1.0f / (1.0f + exponential(-x)); }

PU_INLINE Vec activated(const Activation& f, Vec x) {
  const Vec zero{};
  switch (f.kind) {
    case ActivationKind::kClamp: return clamp(x, broadcast(f.a), broadcast(f.b));
    case ActivationKind::kHardSigmoid: return clamp(x * f.a + f.b, zero, broadcast(1.0f));
    case ActivationKind::kHardSwish: return x * clamp(x + 3.0f, zero, broadcast(6.0f)) * (1.0f / 6.0f);
    case ActivationKind::kSigmoid: return sigmoid(x);
    case ActivationKind::kSwish: return x * sigmoid(x);
    case ActivationKind::kLeakyRelu: return choose(x < zero, x * f.a, x);
    case ActivationKind::kTanh: {
      for (int i = 0; i < kLanes; ++i) x[i] = __builtin_tanhf(x[i]);
      return x;
    }
    case ActivationKind::kGelu: {
      for (int i = 0; i < kLanes; ++i) x[i] = 0.5f * x[i] * (1.0f + __builtin_erff(x[i] * 0.70710678f));
      return x;
    }
  }
  return x;
}

template <typename Function>
PU_INLINE void map(const Function& function, float* output, int64_t count) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(output + i, function(i));
  if (i < count) store_first(output + i, function(i), static_cast<int>(count - i));  // reads into the guard
}

void activate(const Activation& f, const float* input, float* output, int64_t count) {
  map([&](int64_t i) { return activated(f, load(input + i)); }, output, count);
}

void add(const float* a, const float* b, float* output, int64_t count) {
  map([&](int64_t i) { return load(a + i) + load(b + i); }, output, count);
}

void multiply(const float* a, const float* b, float* output, int64_t count) {
  map([&](int64_t i) { return load(a + i) * load(b + i); }, output, count);
}

void scale_shift(const float* input, float scale, float shift, float* output, int64_t count) {
  map([&](int64_t i) { return load(input + i) * scale + shift; }, output, count);
}

float sum(const float* values, int64_t count) {
  Vec sums[2] = {};
  int64_t i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
    sums[0] += load(values + i);
    sums[1] += load(values + i + kLanes);
  }
  float total = sum_of(sums[0] + sums[1]);
  for (; i < count; ++i) total += values[i];
  return total;
}

void softmax(const float* input, float* output, int64_t count) {
  float largest = input[0];
  for (int64_t i = 1; i < count; ++i) largest = input[i] > largest ? input[i] : largest;
  map([&](int64_t i) { return exponential(load(input + i) - largest); }, output, count);
  const float scale = 1.0f / sum(output, count);
  map([&](int64_t i) { return load(output + i) * scale; }, output, count);
}

float pooled(const Pool& task, const float* plane, int32_t row, int32_t column) {
  const Window& w = task.window;
  const int32_t y = row * w.stride_height - w.pad_top, x = column * w.stride_width - w.pad_left;
  const int32_t top = most(y, 0), bottom = least(y + w.kernel_height, w.height);
  const int32_t left = most(x, 0), right = least(x + w.kernel_width, w.width);
  float result = task.maximum ? -__builtin_inff() : 0.0f;
  for (int32_t i = top; i < bottom; ++i)
    for (int32_t j = left; j < right; ++j) {
      const float value = plane[static_cast<ptrdiff_t>(i) * w.width + j];
      result = !task.maximum ? result + value : value > result ? value : result;
    }
  if (task.maximum) return result;
  // Like Paddle, a mean over padding counts the padding, but not what a ceiled output reaches beyond it.
  const int32_t rows = least(y + w.kernel_height, w.height + w.pad_top) - y;
  const int32_t columns = least(x + w.kernel_width, w.width + w.pad_left) - x;
  const int32_t counted = task.exclusive ? (bottom - top) * (right - left) : rows * columns;
  return result / static_cast<float>(counted);
}

// Whole vectors of a row of maxima, stride 1 or 2, while the window stays inside the plane's columns.
int32_t maxima(const Window& w, const float* plane, int32_t row, int32_t column, float* output) {
  const int32_t y = row * w.stride_height - w.pad_top;
  const int32_t top = most(y, 0), bottom = least(y + w.kernel_height, w.height);
  for (; column + kLanes <= w.output_width; column += kLanes) {
    const int32_t x = column * w.stride_width - w.pad_left;
    if (x < 0 || x + (kLanes - 1) * w.stride_width + w.kernel_width > w.width) break;
    Vec best = broadcast(-__builtin_inff());
    for (int32_t i = top; i < bottom; ++i)
      for (int32_t j = 0; j < w.kernel_width; ++j) {
        const float* from = plane + static_cast<ptrdiff_t>(i) * w.width + x + j;
        best = maximum(best, w.stride_width == 1 ? load(from) : load_even(from));
      }
    store(output + column, best);
  }
  return column;
}

void pool(const Pool& task) {
  const Window& w = task.window;
  const bool fast = task.maximum && w.stride_width <= 2;
  for (int32_t channel = task.first; channel < task.last; ++channel) {
    const float* const plane = w.input + channel * w.pitch;
    float* output = task.output + channel * task.output_pitch;
    for (int32_t row = 0; row < w.output_height; ++row, output += w.output_width)
      for (int32_t column = 0; column < w.output_width; ++column) {
        if (fast) column = maxima(w, plane, row, column, output);
        if (column < w.output_width) output[column] = pooled(task, plane, row, column);
      }
  }
}

}  // namespace
}  // namespace paddle_unstructured
