// SPDX-License-Identifier: Apache-2.0
// Between float32 and int8, and from int32 sums to either.
//
//   quantize:    for each vector of 4 planes:  q = rint(fma(x, 1 / scale, zero)), 4 rows interleaved to words
//   dequantize:  for each vector:              x = (q - zero) * scale
//   requantize:  for each vector of sums:      q = rint(fma(sum, scale, zero)), saturated to [low, high]; or by
//   hard-swish

namespace paddle_unstructured::int8 {
namespace {

// A NaN becomes the zero point.
PU_INLINE IntVec quantized_input(Vec x, Vec inverse, Vec zero) {
  return quantized(minimum(fused(keep(x, lanes_of_numbers(x)), inverse, zero), broadcast(255.0f)));
}

// Those of the first `left` lanes; what lies behind may be anything.
PU_INLINE Lanes nans_among(Vec x, int64_t left) {
  const Lanes nans = lanes_of_nans(x);
  return left >= kLanes ? nans : nans & lanes_between(0, static_cast<int>(left));
}

template <int Planes>
bool quantize_planes(const float* const planes[4], float inverse, float zero, uint8_t* output, int64_t pitch,
                     int64_t count) {
  const Vec by = broadcast(inverse), to = broadcast(zero);
  Lanes nans = all_lanes_if(false);
  for (int64_t i = 0; i < pitch; i += kLanes) {
    IntVec q[4];
    PU_UNROLL(4)
    for (int c = 0; c < Planes; ++c) {
      const Vec x = load(planes[c] + i);
      nans |= nans_among(x, count - i);
      q[c] = quantized_input(x, by, to);
    }
    PU_UNROLL(4)
    for (int c = Planes; c < 4; ++c) q[c] = q[Planes - 1];
    store_aligned_ints(output + i * kGroup, interleaved(pair(q[0], q[1]), pair(q[2], q[3])));
  }
  return any(nans);
}

bool quantize_group(const float* const planes[4], float inverse, float zero, uint8_t* output, int64_t pitch,
                    int64_t count) {
  const bool three = planes[3] == planes[2];  // as images have
  return (three ? quantize_planes<3> : quantize_planes<4>)(planes, inverse, zero, output, pitch, count);
}

bool quantize(const float* input, float inverse, float zero, uint8_t* output, int64_t count) {
  const Vec by = broadcast(inverse), to = broadcast(zero);
  Lanes nans = all_lanes_if(false);
  for (int64_t i = 0; i < count; i += kLanes) {
    const Vec x = load(input + i);
    nans |= nans_among(x, count - i);
    narrow(output + i, quantized_input(x, by, to), IntVec{}, broadcast_int(255));
  }
  return any(nans);
}

void dequantize_plane(const uint8_t* group, int32_t channel, float scale, int32_t zero, float* output, int64_t pixels) {
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
  const Vec added_scale = broadcast(finish.added_scale);
  const IntVec low = broadcast_int(finish.low), high = broadcast_int(finish.high);
  for (int64_t i = 0; i < count; i += kLanes) {
    const Vec start = finish.added == nullptr ? zero : fused(floats(widened(finish.added + i)), added_scale, zero);
    const Vec real = fused(floats(load_ints(sums + i)), load(finish.scale + i), start);
    narrow(output + i, quantized(finish.swish != 0 ? hard_swished(real, finish) : real), low, high);
  }
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

}  // namespace
}  // namespace paddle_unstructured::int8
