// SPDX-License-Identifier: Apache-2.0
// Number by number: sums, products, tables of any function.
//
//   for each vector of bytes: output = saturated rint(fma(...)), or table[input]

namespace paddle_unstructured::int8 {
namespace {

void add(const Add& task, const uint8_t* a, const uint8_t* b, uint8_t* output, int64_t count) {
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

  explicit PU_INLINE Product(const Multiply& task)
      : scale(broadcast(task.scale)),
        zero(broadcast(task.zero)),
        zero_a(broadcast_int(task.zero_a)),
        zero_b(broadcast_int(task.zero_b)),
        low(broadcast_int(task.low)),
        high(broadcast_int(task.high)) {}
  PU_INLINE void store(IntVec a, IntVec centered_b, uint8_t* to) const {
    narrow(to, quantized(fused(floats((a - zero_a) * centered_b), scale, zero)), low, high);
  }
};

void multiply(const Multiply& task, const uint8_t* a, const uint8_t* b, uint8_t* output, int64_t count) {
  const Product product(task);
  for (int64_t i = 0; i < count; i += kLanes)
    product.store(widened(a + i), widened(b + i) - product.zero_b, output + i);
}

void multiply_group(const Multiply& task, const uint8_t* a, const uint8_t* b, uint8_t* output, int64_t count) {
  const Product product(task);
  const int32_t four[4] = {b[0], b[1], b[2], b[3]};
  const IntVec factor = repeated(four) - product.zero_b;
  for (int64_t i = 0; i < count; i += kLanes) product.store(widened(a + i), factor, output + i);
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

}  // namespace
}  // namespace paddle_unstructured::int8
