// SPDX-License-Identifier: Apache-2.0
// Weights times a panel of pixels: output[row][pixel] = bias[row] + sum over k of weight[row][k] * panel[k][pixel].
//
//                          tile: `Vectors` vectors of pixels
//                         |<------->|
//                         +---------+  -+
//                         |  panel  |   | block of the depth: rows of the panel that fit the first-level cache
//                      k  | x x x x |   |
//                         |         |  -+- the next block: the sums go to the output and come back
//                         |         |   |
//                         +---------+  -+
//            k
//   +-----------------+   +---------+  -+
//   |   w       w     |   | + + + + |   | M outputs, whose sums stay in registers (M = 1, 2, 4 for sparse rows,
//   |       w         |   | + + + + |   | 4 for dense ones)
//   +--- weights -----+   +---------+  -+
//   |                 |   | output  |   | a slice of the outputs: what one task takes
//   +-----------------+   +---------+  -+
//
//   for each M outputs (of a slice)                                   sparse_tile, dense_tile
//     sums[M][Vectors] = first block ? bias : output                  Accumulators::start
//     for each k that has weights (dense: for each k)
//       for v < Vectors: x = panel[k][v]                              add_entry
//         for m < M: sums[m][v] += weight[m] * x
//     output = last block ? clamp(sums) : sums                        Accumulators::finish
//
// Sparse rows follow Elsen et al., "Fast Sparse ConvNets", 2019, arXiv:1911.09723: one broadcast weight and one index
// serve `Vectors` vectors of pixels.

namespace paddle_unstructured::f32 {
namespace {

template <int Vectors, int Block>
struct Accumulators {
  Vec at[Block][Vectors];

  PU_INLINE void start(const Tile& tile, const float* bias, const float* output) {
    PU_UNROLL(4)
    for (int m = 0; m < Block; ++m, output += tile.output_pitch) {
      hold_pointer(output);
      PU_UNROLL(24)
      for (int v = 0; v < Vectors; ++v) at[m][v] = tile.first ? broadcast(bias[m]) : load_aligned(output + v * kLanes);
    }
  }

  PU_INLINE void finish(const Tile& tile, float* output) const {
    const Vec low = broadcast(tile.low), high = broadcast(tile.high);
    PU_UNROLL(4)
    for (int m = 0; m < Block; ++m, output += tile.output_pitch) {
      hold_pointer(output);
      PU_UNROLL(24)
      for (int v = 0; v < Vectors; ++v) {
        const Vec sum = at[m][v];
        store_aligned(output + v * kLanes, tile.last ? clamp(sum, low, high) : sum);
      }
    }
  }
};

template <int Vectors, int Block>
PU_INLINE void add_entry(Accumulators<Vectors, Block>& sums, const float* pixels, const float* value) {
  Vec weight[Block];
  PU_UNROLL(4)
  for (int m = 0; m < Block; ++m) weight[m] = broadcast(value[m]);
  PU_UNROLL(24)
  for (int v = 0; v < Vectors; ++v) {
    Vec x = load_aligned(pixels + v * kLanes);
    if (Block > 1) hold(x);
    PU_UNROLL(4)
    for (int m = 0; m < Block; ++m) sums.at[m][v] += weight[m] * x;
  }
}

#if PU_NEON
// As many entries as have kWeights weights.
template <int Vectors, int Block>
PU_INLINE void add_entries(Accumulators<Vectors, Block>& sums, const Tile& tile, const uint16_t* column,
                           const float* value) {
  const Vec weights = load(value);
  for_each_number<kWeights / Block>([&](auto entry) __attribute__((always_inline)) {
    const auto* const panel = reinterpret_cast<const char*>(tile.panel);
    const ptrdiff_t pitch = tile.panel_pitch * static_cast<ptrdiff_t>(sizeof(float));
    const auto* const pixels = reinterpret_cast<const float*>(panel + column[entry.value] * pitch);
    for_each_vector<Vectors>(pixels, [&](int v, Vec x) __attribute__((always_inline)) {
      for_each_number<Block>([&](auto m) __attribute__((always_inline)) {
        sums.at[m.value][v] = add_product<entry.value * Block + m.value>(sums.at[m.value][v], x, weights);
      });
    });
  });
}
#endif

// Short entries come two at a time, the odd one first: half the branches, and their end is foreseen more often.
template <int Vectors, int Block>
void sparse_tile(const SparseRows rows, const Tile tile) {
  for (int32_t i = 0; i < rows.count; ++i) {
    const ptrdiff_t row = static_cast<ptrdiff_t>(rows.row[i]) * Block;
    float* const output = tile.output + row * tile.output_pitch;
    Accumulators<Vectors, Block> sums;
    sums.start(tile, tile.bias + row, output);
    const auto add = [&](int32_t entry) {
      add_entry(sums, tile.panel + rows.column[entry] * tile.panel_pitch,
                rows.value + static_cast<ptrdiff_t>(entry) * Block);
    };
    int32_t entry = rows.start[i];
    const int32_t last = rows.start[i + 1];
#if PU_NEON
    constexpr int32_t kEntries = kWeights / Block;
    for (; last - entry >= kEntries; entry += kEntries)
      add_entries(sums, tile, rows.column + entry, rows.value + static_cast<ptrdiff_t>(entry) * Block);
#endif
    constexpr int32_t kStep = Block == 1 ? 2 : 1;
    if ((last - entry) % kStep != 0) add(entry++);
    for (; entry < last; entry += kStep) {
      add(entry);
      if (kStep == 2) add(entry + 1);
    }
    sums.finish(tile, output);
  }
}

// Two rows whose sums stay in registers; all that tells where their entries lie does, too.
template <int Vectors>
void paired_tile(const PairedRows rows, const Tile tile) {
  const uint16_t* column = rows.column;
  const float* value = rows.value;
  const int32_t *row = rows.row, *counts = rows.counts;
  const int32_t* const last = row + rows.rows;
  const auto output = [&](int32_t number) { return tile.output + number * tile.output_pitch; };
  const auto add_own = [&](Accumulators<Vectors, 1>& sums, int32_t count) __attribute__((always_inline)) {
    for (const uint16_t* const end = column + count; column < end; ++column, ++value)
      add_entry(sums, tile.panel + *column * tile.panel_pitch, value);
  };
  for (; last - row >= 2; row += 2, counts += 3) {
    Accumulators<Vectors, 1> first, second;
    first.start(tile, tile.bias + row[0], output(row[0]));
    second.start(tile, tile.bias + row[1], output(row[1]));
    for (const uint16_t* const end = column + counts[0]; column < end; ++column, value += 2) {
      const float* const pixels = tile.panel + *column * tile.panel_pitch;
      const Vec weight = broadcast(value[0]), other = broadcast(value[1]);
      PU_UNROLL(24)
      for (int v = 0; v < Vectors; ++v) {
        Vec x = load_aligned(pixels + v * kLanes);
        hold(x);
        first.at[0][v] += weight * x;
        second.at[0][v] += other * x;
      }
    }
    add_own(first, counts[1]);
    add_own(second, counts[2]);
    first.finish(tile, output(row[0]));
    second.finish(tile, output(row[1]));
  }
  if (row == last) return;
  Accumulators<Vectors, 1> sums;
  sums.start(tile, tile.bias + *row, output(*row));
  add_own(sums, *counts);
  sums.finish(tile, output(*row));
}

template <int Vectors>
void dense_tile(const DenseRows& rows, const Tile& tile) {
  for (int32_t row = rows.first_row; row < rows.last_row; row += kGroup) {
    const float* value = rows.value + row / kGroup * rows.group_pitch;
    float* const output = tile.output + row * tile.output_pitch;
    Accumulators<Vectors, kGroup> sums;
    sums.start(tile, tile.bias + row, output);
    const float* pixels = tile.panel;
    for (int32_t k = 0; k < rows.depth; ++k, value += kGroup, pixels += tile.panel_pitch) {
      Vec x[Vectors];
#if PU_NEON
      const Vec weights = load(value);
      for_each_vector<Vectors>(pixels, [&](int v, Vec loaded) __attribute__((always_inline)) { x[v] = loaded; });
      for_each_number<kGroup>([&](auto m) __attribute__((always_inline)) {
        PU_UNROLL(24)
        for (int v = 0; v < Vectors; ++v)
          sums.at[m.value][v] = add_product<m.value>(sums.at[m.value][v], x[v], weights);
      });
#else
      PU_UNROLL(24)
      for (int v = 0; v < Vectors; ++v) x[v] = load_aligned(pixels + v * kLanes);
      PU_UNROLL(4)
      for (int m = 0; m < kGroup; ++m) {
        const Vec weight = broadcast(value[m]);
        PU_UNROLL(24)
        for (int v = 0; v < Vectors; ++v) sums.at[m][v] += weight * x[v];
      }
#endif
    }
    sums.finish(tile, output);
  }
}

template <int Block>
struct SparseRun {
  const SparseRows& rows;
  const Tile& tile;
  template <int Vectors>
  void with() const {
    sparse_tile<Vectors * kTogether, Block>(rows, tile);
  }
};

struct PairedRun {
  const PairedRows& rows;
  const Tile& tile;
  template <int Vectors>
  void with() const {
    paired_tile<Vectors * kTogether>(rows, tile);
  }
};

struct DenseRun {
  const DenseRows& rows;
  const Tile& tile;
  template <int Vectors>
  void with() const {
    dense_tile<Vectors * kTogether>(rows, tile);
  }
};

template <int Block, int Most>
void sparse(const SparseRows& rows, const Tile& tile) {
  with_constant<Most / kTogether>(tile.vectors, SparseRun<Block>{rows, tile});
}

template <int Most>
void paired(const PairedRows& rows, const Tile& tile) {
  if constexpr (Most > 0) with_constant<Most / kTogether>(tile.vectors, PairedRun{rows, tile});
}

void dense(const DenseRows& rows, const Tile& tile) {
  with_constant<kDenseVectors / kTogether>(tile.vectors, DenseRun{rows, tile});
}

// Each weight is read once, from memory that the processor's own prefetch leaves at the end of a page.
template <int Block>
void sparse_vector(const SparseVector& task) {
  constexpr int kChains = Block == 1 ? 4 : 2;  // independent sums hide the latency of the additions
  constexpr int kAhead = 1024;                 // entries
  for (int32_t i = 0; i < task.rows.count; ++i) {
    const int32_t row = task.rows.row[i] * Block, last = task.rows.start[i + 1];
    float sums[kChains][Block] = {};
    int32_t e = task.rows.start[i];
    for (; e + kChains <= last; e += kChains) {
      __builtin_prefetch(task.rows.value + static_cast<ptrdiff_t>(e + kAhead) * Block);
      __builtin_prefetch(task.rows.column + e + kAhead);
      PU_UNROLL(4)
      for (int c = 0; c < kChains; ++c) {
        const float x = task.input[task.rows.column[e + c]];
        PU_UNROLL(4)
        for (int m = 0; m < Block; ++m) sums[c][m] += task.rows.value[static_cast<ptrdiff_t>(e + c) * Block + m] * x;
      }
    }
    for (; e < last; ++e)
      for (int m = 0; m < Block; ++m)
        sums[0][m] += task.rows.value[static_cast<ptrdiff_t>(e) * Block + m] * task.input[task.rows.column[e]];
    for (int m = 0; m < Block; ++m) {
      float total = task.first ? task.bias[row + m] : task.output[row + m];
      for (int c = 0; c < kChains; ++c) total += sums[c][m];
      task.output[row + m] = total;
    }
  }
}

void paired_vector(const PairedVector& task) {
  const int32_t *row = task.rows.row, *counts = task.rows.counts;
  const int32_t* const last = row + task.rows.rows;
  const uint16_t* column = task.rows.column;
  const float* value = task.rows.value;
  const auto begin = [&](int32_t at) { return task.first ? task.bias[at] : task.output[at]; };
  const auto own_sum = [&](int32_t count) {
    constexpr int kChains = 4;
    float sums[kChains] = {};
    for (int32_t e = 0; e < count; ++e) sums[e % kChains] += value[e] * task.input[column[e]];
    value += count;
    column += count;
    return sums[0] + sums[1] + sums[2] + sums[3];
  };
  for (; last - row >= 2; row += 2, counts += 3) {
    float sums[2] = {begin(row[0]), begin(row[1])};
    for (const uint16_t* const end = column + counts[0]; column < end; ++column, value += 2)
      for (int m = 0; m < 2; ++m) sums[m] += value[m] * task.input[*column];
    for (int m = 0; m < 2; ++m) task.output[row[m]] = sums[m] + own_sum(counts[m + 1]);
  }
  if (row < last) task.output[*row] = begin(*row) + own_sum(*counts);
}

// kLanes / kGroup inputs at a time, each repeated for the kGroup outputs whose weights lie side by side.
void dense_vector(const DenseVector& task) {
  constexpr int kStep = kLanes / kGroup;
  const IntVec repeat = lane_numbers() / kGroup;
  const int32_t depth = task.rows.depth;
  for (int32_t row = task.rows.first_row; row < task.rows.last_row; row += kGroup) {
    const float* value = task.rows.value + row / kGroup * task.rows.group_pitch;
    Vec sums[2] = {};
    int32_t k = 0;
    for (; k + 2 * kStep <= depth; k += 2 * kStep) {
      const Vec x = load(task.input + k);  // may read into the guard; the shuffle takes 2 * kStep of it
      sums[0] += load(value + k * kGroup) * __builtin_shuffle(x, repeat);
      sums[1] += load(value + (k + kStep) * kGroup) * __builtin_shuffle(load(task.input + k + kStep), repeat);
    }
    Vec all = sums[0] + sums[1];
    PU_UNROLL(4)
    for (int by = kLanes / 2; by >= kGroup; by /= 2) all += shifted(all, by);
    float total[kGroup];
    for (int m = 0; m < kGroup; ++m) total[m] = task.bias[row + m] + all[m];
    for (; k < depth; ++k)
      for (int m = 0; m < kGroup; ++m) total[m] += value[k * kGroup + m] * task.input[k];
    for (int m = 0; m < kGroup && row + m < task.rows.last_row; ++m) task.output[row + m] = total[m];
  }
}

}  // namespace
}  // namespace paddle_unstructured::f32
