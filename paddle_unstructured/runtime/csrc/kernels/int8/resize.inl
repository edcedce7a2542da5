// SPDX-License-Identifier: Apache-2.0
// One row of planes that are resized linearly.
//
//   for each vector of bytes of both rows:   sums = weight * byte + weight * byte         a row between rows
//   for each output pixel, its four sums:    made = weight * sums[left] + weight * sums[right]
//   for each vector of these:                output = saturated rint(fma(made - center, scale, zero))

namespace paddle_unstructured::int8 {
namespace {

void blend(const Blend& task) {
  const int64_t count = task.width * kGroup, made = task.output_width * kGroup;
  int32_t* const row = task.sums;
  for (int64_t i = 0; i < count; i += kLanes) {
    const IntVec a = widened(task.rows[0] + i) * task.row_weights[0];
    store_ints(row + i, a + widened(task.rows[1] + i) * task.row_weights[1]);
  }
  int32_t* const between = row + count + kVectorStep;
  const int32_t *const left = task.places, *const right = left + task.output_width;
  const int32_t *const of_left = task.weights, *const of_right = of_left + task.output_width;
  for (int64_t x = 0; x < task.output_width; ++x) {
    const int32_t *const a = row + left[x] * kGroup, *const b = row + right[x] * kGroup;
    PU_UNROLL(4)
    for (int c = 0; c < kGroup; ++c) between[x * kGroup + c] = a[c] * of_left[x] + b[c] * of_right[x];
  }
  const Vec scale = broadcast(task.scale), zero = broadcast(task.zero);
  const IntVec low = broadcast_int(0), high = broadcast_int(255);
  for (int64_t i = 0; i < made; i += kLanes)
    narrow(task.output + i, quantized(fused(floats(load_ints(between + i) - task.center), scale, zero)), low, high);
}

}  // namespace
}  // namespace paddle_unstructured::int8
