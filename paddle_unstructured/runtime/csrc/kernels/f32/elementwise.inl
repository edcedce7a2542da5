// SPDX-License-Identifier: Apache-2.0
// Number by number: activations, sums, products, scales.
//
//   for each vector: output = function(input)                         map

namespace paddle_unstructured::f32 {
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

PU_INLINE Vec magnitude(Vec x) { return reinterpret_cast<Vec>(reinterpret_cast<IntVec>(x) & 0x7fffffff); }

// Near zero, where 1 - 2 / (exp(2x) + 1) would cancel, by a polynomial. Source: Cephes, tanhf.
PU_INLINE Vec hyperbolic_tangent(Vec x) {
  const Vec size = magnitude(x), square = x * x;
  Vec p = broadcast(-5.70498872745e-3f);
  p = p * square + 2.06390887954e-2f;
  p = p * square - 5.37397155531e-2f;
  p = p * square + 1.33314422036e-1f;
  p = p * square - 3.33332819422e-1f;
  const Vec near = p * square * x + x, far = 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f);
  return choose(size < 0.625f, near, far);
}

// 1 - erf(x) of x >= 0, within 1.5e-7. Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 1964, 7.1.26.
PU_INLINE Vec complementary_error(Vec x) {
  const Vec t = 1.0f / (1.0f + 0.3275911f * x);
  Vec p = broadcast(1.061405429f);
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  return p * t * exponential(-x * x);
}

// Those for which vectors are not worth the code: they end a net, or are rare.
inline float activated_one(const Activation& f, float x) {
  switch (f.kind) {
    case ActivationKind::kElu:
      return x < 0 ? f.a * __builtin_expm1f(x / f.b) : x;
    case ActivationKind::kSelu:
      return f.a * (x < 0 ? f.b * __builtin_expm1f(x) : x);
    case ActivationKind::kMish:
      return x * __builtin_tanhf(x > 20 ? x : __builtin_log1pf(__builtin_expf(x)));
    case ActivationKind::kSoftplus:
      return f.a * x > f.b ? x : __builtin_log1pf(__builtin_expf(f.a * x)) / f.a;
    case ActivationKind::kLogSigmoid:
      return x < 0 ? x - __builtin_log1pf(__builtin_expf(x)) : -__builtin_log1pf(__builtin_expf(-x));
    case ActivationKind::kExp:
      return __builtin_expf(x);
    case ActivationKind::kLog:
      return __builtin_logf(x);
    case ActivationKind::kSqrt:
      return __builtin_sqrtf(x);
    case ActivationKind::kRsqrt:
      return 1.0f / __builtin_sqrtf(x);
    case ActivationKind::kSin:
      return __builtin_sinf(x);
    case ActivationKind::kCos:
      return __builtin_cosf(x);
    case ActivationKind::kFloor:
      return __builtin_floorf(x);
    case ActivationKind::kCeil:
      return __builtin_ceilf(x);
    case ActivationKind::kRound:
      return __builtin_roundf(x);
    case ActivationKind::kTrunc:
      return __builtin_truncf(x);
    case ActivationKind::kPower:
      return __builtin_powf(x, f.a);
    default:
      return x;
  }
}

PU_INLINE Vec activated(const Activation& f, Vec x) {
  const Vec zero{};
  switch (f.kind) {
    case ActivationKind::kClamp:
      return clamp(x, broadcast(f.a), broadcast(f.b));
    case ActivationKind::kHardSigmoid:
      return clamp(x * f.a + f.b, zero, broadcast(1.0f));
    case ActivationKind::kHardSwish:
      return x * clamp(x + 3.0f, zero, broadcast(6.0f)) * (1.0f / 6.0f);
    case ActivationKind::kSigmoid:
      return sigmoid(x);
    case ActivationKind::kSwish:
      return x * sigmoid(x);
    case ActivationKind::kLeakyRelu:
      return choose(x < zero, x * f.a, x);
    case ActivationKind::kTanh:
      return hyperbolic_tangent(x);
    case ActivationKind::kGelu: {  // where x < 0 nothing cancels so
      const Vec size = magnitude(x);
      return maximum(x, zero) - 0.5f * size * complementary_error(size * 0.70710678f);
    }
    case ActivationKind::kLinear:
      return x * f.a + f.b;
    case ActivationKind::kGeluTanh:
      return x * sigmoid(1.59576912f * (x + 0.044715f * x * x * x));  // (1 + tanh(y)) / 2 is sigmoid(2y)
    case ActivationKind::kSquare:
      return x * x;
    case ActivationKind::kAbs:
      return choose(x < zero, -x, x);
    case ActivationKind::kReciprocal:
      return 1.0f / x;
    case ActivationKind::kSoftsign:
      return x / (1.0f + choose(x < zero, -x, x));
    case ActivationKind::kHardShrink:
      return choose((x > f.a) | (x < -f.a) | (x != x), x, zero);
    case ActivationKind::kSoftShrink:
      return choose(x > f.a, x - f.a, choose(x < -f.a, x + f.a, zero * x));
    case ActivationKind::kThresholded:
      return choose(x > f.a, x, broadcast(f.b));
    case ActivationKind::kSign:
      return choose(x > zero, broadcast(1.0f), choose(x < zero, broadcast(-1.0f), x));
    default:
      for (int i = 0; i < kLanes; ++i) x[i] = activated_one(f, x[i]);
      return x;
  }
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

template <Pair function>
PU_INLINE Vec paired(Vec a, Vec b) {
  if constexpr (function == Pair::kAdd) return a + b;
  if constexpr (function == Pair::kSubtract) return a - b;
  if constexpr (function == Pair::kMultiply) return a * b;
  if constexpr (function == Pair::kDivide) return a / b;
  if constexpr (function == Pair::kMaximum) return choose(~(a <= b), a, b);  // a NaN stays one
  if constexpr (function == Pair::kMinimum) return choose(~(a >= b), a, b);
  if constexpr (function == Pair::kFirst) return a;
  const Vec zero{}, one = broadcast(1.0f);
  if constexpr (function == Pair::kEqual) return choose(a == b, one, zero);
  if constexpr (function == Pair::kNotEqual) return choose(a != b, one, zero);
  if constexpr (function == Pair::kLess) return choose(a < b, one, zero);
  if constexpr (function == Pair::kLessEqual) return choose(a <= b, one, zero);
  if constexpr (function == Pair::kKeep) return choose(a != zero, b, zero);
  return choose(a == zero, b, zero);
}

template <Pair function>
void pair_of(Repeated repeated, const float* a, const float* b, float* output, int64_t count) {
  const Vec one = broadcast(repeated == Repeated::kFirst ? *a : *b);
  switch (repeated) {
    case Repeated::kNone:
      return map([&](int64_t i) { return paired<function>(load(a + i), load(b + i)); }, output, count);
    case Repeated::kFirst:
      return map([&](int64_t i) { return paired<function>(one, load(b + i)); }, output, count);
    case Repeated::kSecond:
      return map([&](int64_t i) { return paired<function>(load(a + i), one); }, output, count);
  }
}

// Calls run.template with<function>().
template <typename Run>
PU_INLINE auto with_pair(Pair function, const Run& run) {
  switch (function) {
    case Pair::kAdd:
      return run.template with<Pair::kAdd>();
    case Pair::kSubtract:
      return run.template with<Pair::kSubtract>();
    case Pair::kMultiply:
      return run.template with<Pair::kMultiply>();
    case Pair::kDivide:
      return run.template with<Pair::kDivide>();
    case Pair::kMaximum:
      return run.template with<Pair::kMaximum>();
    case Pair::kMinimum:
      return run.template with<Pair::kMinimum>();
    case Pair::kEqual:
      return run.template with<Pair::kEqual>();
    case Pair::kNotEqual:
      return run.template with<Pair::kNotEqual>();
    case Pair::kLess:
      return run.template with<Pair::kLess>();
    case Pair::kLessEqual:
      return run.template with<Pair::kLessEqual>();
    case Pair::kKeep:
      return run.template with<Pair::kKeep>();
    case Pair::kDrop:
      return run.template with<Pair::kDrop>();
    default:
      return run.template with<Pair::kFirst>();
  }
}

struct PairRun {
  Repeated repeated;
  const float *a, *b;
  float* output;
  int64_t count;

  template <Pair function>
  PU_INLINE void with() const {
    pair_of<function>(repeated, a, b, output, count);
  }
};

void pair(Pair function, Repeated repeated, const float* a, const float* b, float* output, int64_t count) {
  with_pair(function, PairRun{repeated, a, b, output, count});
}

struct FoldRun {
  const float* values;
  int64_t count;

  template <Pair function>
  PU_INLINE float with() const {
    float total = values[0];
    int64_t i = 1;
    if (count >= 2 * kLanes) {
      Vec some = load(values);
      for (i = kLanes; i + kLanes <= count; i += kLanes) some = paired<function>(some, load(values + i));
      total = some[0];
      for (int lane = 1; lane < kLanes; ++lane) total = paired<function>(broadcast(total), broadcast(some[lane]))[0];
    }
    for (; i < count; ++i) total = paired<function>(broadcast(total), broadcast(values[i]))[0];
    return total;
  }
};

float fold(Pair function, const float* values, int64_t count) { return with_pair(function, FoldRun{values, count}); }

void prelu(const float* input, float slope, float* output, int64_t count) {
  map(
      [&](int64_t i) {
        const Vec x = load(input + i);
        return choose(x < Vec{}, x * slope, x);
      },
      output, count);
}

void weigh(const float* const* rows, const float* weights, int32_t taps, float* output, int64_t count) {
  map(
      [&](int64_t i) {
        Vec total = load(rows[0] + i) * weights[0];
        for (int32_t tap = 1; tap < taps; ++tap) total += load(rows[tap] + i) * weights[tap];
        return total;
      },
      output, count);
}

void weigh_places(const float* row, const int32_t* places, const float* weights, int32_t taps, float* output,
                  int64_t count) {
  if (taps == 2) {
    const int32_t* const second = places + count;
    const float* const of_second = weights + count;
    for (int64_t i = 0; i < count; ++i) output[i] = row[places[i]] * weights[i] + row[second[i]] * of_second[i];
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    float total = 0;
    for (int32_t tap = 0; tap < taps; ++tap) total += row[places[tap * count + i]] * weights[tap * count + i];
    output[i] = total;
  }
}

void scale_shift(const float* input, float scale, float shift, float* output, int64_t count) {
  map([&](int64_t i) { return load(input + i) * scale + shift; }, output, count);
}

}  // namespace
}  // namespace paddle_unstructured::f32
