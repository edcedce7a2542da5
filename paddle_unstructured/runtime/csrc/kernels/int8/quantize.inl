// Between float32 and int8, and from int32 sums to either.
//
//   quantize:    for each vector of 4 planes:  q = rint(fma(x, 1 / scale, zero)), 4 rows interleaved to words
//   dequantize:  for each vector:              x = (q - zero) * scale
//   requantize:  for each vector of sums:      q = rint(fma(sum, scale, zero)), saturated to [low, high]

namespace paddle_unstructured::int8 {
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

}  // namespace
}  // namespace paddle_unstructured::int8
