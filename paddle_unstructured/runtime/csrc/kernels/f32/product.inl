// SPDX-License-Identifier: Apache-2.0
// The product of two activations, both where they lie; and planes turned into pixels.
//
//   for each tile of pixels, `Vectors` vectors wide                   product
//     for each kGroup rows                                            product_rows
//       for each k                                                    (as dense_tile in multiply.inl)
//         for v < Vectors: x = b[k][v]
//         for m < kGroup: sums[m][v] += a[row + m][k] * x
//
// `a` may be read along or across its planes; so a product over channels (scores of an attention) and one over pixels
// (what it takes of its values) need no copy.

namespace paddle_unstructured::f32 {
namespace {

template <int Vectors, int Rows>
PU_INLINE void product_rows(const Product& task, int32_t row, int64_t pixel, int32_t pixels) {
  Vec sums[Rows][Vectors] = {};
  const float* a = task.a + row * task.a_row;
  const float* b = task.b + pixel;
  for (int32_t k = 0; k < task.depth; ++k, a += task.a_depth, b += task.b_pitch) {
    Vec x[Vectors];
    PU_UNROLL(16)
    for (int v = 0; v < Vectors; ++v) x[v] = load(b + v * kLanes);
    const float* value = a;
    PU_UNROLL(4)
    for (int m = 0; m < Rows; ++m, value += task.a_row) {
      const Vec weight = broadcast(*value);
      PU_UNROLL(16)
      for (int v = 0; v < Vectors; ++v) sums[m][v] += weight * x[v];
    }
  }
  PU_UNROLL(4)
  for (int m = 0; m < Rows; ++m) {
    float* const output = task.output + (row + m) * task.output_pitch + pixel;
    PU_UNROLL(16)
    for (int v = 0; v < Vectors; ++v) {
      Vec sum = sums[m][v];
      if (task.factors != nullptr) sum *= load(task.factors + pixel + v * kLanes);
      if (task.adds) sum += load(output + v * kLanes);
      store_first(output + v * kLanes, sum, pixels - v * kLanes);
    }
  }
}

struct ProductRun {
  const Product& task;
  int64_t pixel;
  int32_t pixels;
  template <int Vectors>
  void with() const {
    int32_t row = 0;
    for (; row + kGroup <= task.rows; row += kGroup) product_rows<Vectors, kGroup>(task, row, pixel, pixels);
    for (; row < task.rows; ++row) product_rows<Vectors, 1>(task, row, pixel, pixels);
  }
};

void product(const Product& task) {
  const int64_t vectors = (task.pixels + kLanes - 1) / kLanes, tiles = (vectors + kDenseVectors - 1) / kDenseVectors;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const int64_t first = vectors * tile / tiles, last = vectors * (tile + 1) / tiles;
    const int64_t end = last * kLanes < task.pixels ? last * kLanes : task.pixels;
    with_constant<kDenseVectors>(static_cast<int>(last - first),
                                 ProductRun{task, first * kLanes, static_cast<int32_t>(end - first * kLanes)});
  }
}

// kLanes rows of kLanes numbers, as columns: each of log2(kLanes) steps interleaves the halves.
PU_INLINE void turn(Vec (&rows)[kLanes]) {
  const IntVec lane = lane_numbers();
  const IntVec low = (lane & 1) * kLanes + (lane >> 1), high = low + kLanes / 2;
  PU_UNROLL(4)
  for (int step = 1; step < kLanes; step *= 2) {
    Vec next[kLanes];
    PU_UNROLL(16)
    for (int i = 0; i < kLanes / 2; ++i) {
      next[2 * i] = __builtin_shuffle(rows[i], rows[i + kLanes / 2], low);
      next[2 * i + 1] = __builtin_shuffle(rows[i], rows[i + kLanes / 2], high);
    }
    PU_UNROLL(16)
    for (int i = 0; i < kLanes; ++i) rows[i] = next[i];
  }
}

void transpose(const float* from, ptrdiff_t from_pitch, float* to, ptrdiff_t to_pitch, int64_t rows, int64_t columns) {
  for (int64_t row = 0; row < rows; row += kLanes)
    for (int64_t column = 0; column < columns; column += kLanes) {
      const auto high = static_cast<int>(rows - row < kLanes ? rows - row : kLanes);
      const auto wide = static_cast<int>(columns - column < kLanes ? columns - column : kLanes);
      Vec tile[kLanes];
      PU_UNROLL(16)
      for (int i = 0; i < kLanes; ++i) tile[i] = load(from + (row + (i < high ? i : high - 1)) * from_pitch + column);
      turn(tile);
      PU_UNROLL(16)
      for (int i = 0; i < kLanes; ++i)
        if (i < wide) store_first(to + (column + i) * to_pitch + row, tile[i], high);
    }
}

}  // namespace
}  // namespace paddle_unstructured::f32
