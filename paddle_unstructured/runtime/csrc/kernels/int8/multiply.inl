// SPDX-License-Identifier: Apache-2.0
// Weights times a panel of int8 pixels. As f32/multiply.inl draws it, where every x and every w is a word of four
// bytes, of four neighbouring inputs, and rows of the output come by four: the bytes of four channels lie together.
//
//   tile  | panel: k = (tap, group) x vectors of pixels, a word of 4 unsigned bytes each     uint8 [k][pixel][4]
//   block | depth that the first-level cache holds: sums [row][pixel] wait in int32 between blocks
//   slice | output rows that one task takes; it begins on a whole vector of them
//
//   for each 4 output rows (of a slice)                               sparse_tile, dense_tile
//     for each M of them (M = 1, 2, 4)
//       sums[M][Vectors] = first block ? bias : sums                  start_row
//       for each k that has weights (dense: for each k)               add_entries
//         for v < Vectors: x = panel[k][v]
//           for m < M: sums[m][v] += x . weight[m]                    dot: 4 products, exact in int32
//       last block: rint(fma(sums, scale, zero)), rows put together   finish_row, Rows::join
//                   (zero: with what is added to it; hard-swish before it is rounded)
//     last block: interleave 4 rows to bytes, clamp, store            Rows::store

namespace paddle_unstructured::int8 {
namespace {

// What is common to all rows of a tile.
struct Finish {
  Vec zero;
  ByteClamp clamp;
  Vec added_scale;

  explicit PU_INLINE Finish(const Requantization& q)
      : zero(broadcast(q.zero)),
        clamp(clamp_of(q)),
        added_scale(broadcast(q.added_scale)) {}
};

template <int Vectors>
PU_INLINE void start_row(const Tile& tile, ptrdiff_t row, IntVec (&sums)[Vectors]) {
  const int32_t* const before = tile.sums + row * Vectors * kLanes;
  PU_UNROLL(24)
  for (int v = 0; v < Vectors; ++v)
    sums[v] = tile.first ? broadcast_int(tile.bias[row]) : load_aligned_ints(before + v * kLanes);
}

template <int Vectors>
PU_INLINE void store_row(const Tile& tile, ptrdiff_t row, const IntVec (&sums)[Vectors]) {
  PU_UNROLL(24)
  for (int v = 0; v < Vectors; ++v) store_aligned_ints(tile.sums + (row * Vectors + v) * kLanes, sums[v]);
}

// What becomes of the sums of a row: they wait for the next block, or become bytes; then something may be added, and a
// hard-swish may follow. Kernels without these must not pay for them.
enum Ending { kWaits, kBytes, kAdded, kSwish };

template <int End, int Vectors>
PU_INLINE void finish_row(const Tile& tile, const Finish& finish, ptrdiff_t row, IntVec (&sums)[Vectors]) {
  constexpr bool Swish = End == kSwish;
  const Vec scale = broadcast(tile.finish.scale[row]);
  if (End == kBytes || (Swish && tile.finish.added == nullptr)) {
    PU_UNROLL(24)
    for (int v = 0; v < Vectors; ++v) {
      const Vec real = fused(floats(sums[v]), scale, finish.zero);
      sums[v] = quantized(Swish ? hard_swished(real, tile.finish) : real);
    }
    return;
  }
  const uint8_t* const added = tile.finish.added + row / kGroup * tile.output_pitch;
  PU_UNROLL(24)
  for (int v = 0; v < Vectors; ++v) {
    const IntVec byte = byte_of_words(load_aligned_ints(added + v * kLanes * kGroup), row % kGroup);
    const Vec real = fused(floats(sums[v]), scale, fused(floats(byte), finish.added_scale, finish.zero));
    sums[v] = quantized(Swish ? hard_swished(real, tile.finish) : real);
  }
}

// Four rows that wait to be stored: two to a pair; or, on NEON, bytes of kTogether vectors.
#if PU_NEON
template <int Vectors>
struct Rows {
  uint8x16_t bytes[kGroup][Vectors / kTogether];

  // Row m, after the rows before it.
  PU_INLINE void join(const IntVec (&sums)[kGroup][Vectors], int m) {
    PU_UNROLL(6)
    for (int v = 0; v < Vectors; v += kTogether)
      bytes[m][v / kTogether] = packed(pair(sums[m][v], sums[m][v + 1]), pair(sums[m][v + 2], sums[m][v + 3]));
  }

  // One instruction stores the four bytes of a pixel together.
  PU_INLINE void store(uint8_t* output, const ByteClamp& clamp) const {
    PU_UNROLL(6)
    for (int i = 0; i < Vectors / kTogether; ++i, output += kTogether * kLanes * kGroup) {
      uint8x16x4_t four;
      for (int m = 0; m < kGroup; ++m) four.val[m] = raw_bytes(clamped(ints(bytes[m][i]), clamp));
      vst4q_u8(output, four);
    }
  }
};
#else
template <int Vectors>
struct Rows {
  Pairs halves[2][Vectors];

  PU_INLINE void join(const IntVec (&sums)[kGroup][Vectors], int m) {
    if (m % 2 == 0) return;
    PU_UNROLL(24)
    for (int v = 0; v < Vectors; ++v) halves[m / 2][v] = pair(sums[m - 1][v], sums[m][v]);
  }

  PU_INLINE void store(uint8_t* output, const ByteClamp& clamp) const {
    PU_UNROLL(24)
    for (int v = 0; v < Vectors; ++v)
      store_aligned_ints(output + v * kLanes * kGroup, clamped(interleaved(halves[0][v], halves[1][v]), clamp));
  }
};
#endif

// Where the entries of the next row begin: all rows of a slice lie behind each other.
struct Cursor {
  const int32_t* start;
  const uint16_t* column;
  const int32_t* value;
};

#if PU_NEON
// Words of weights lie four to a register; what is read beyond the last entry is not used.
template <int Entries, int Vectors, int Block>
PU_INLINE void add_together(Cursor& at, const uint8_t* panel, ptrdiff_t pitch, IntVec (&sums)[Block][Vectors]) {
  const IntVec weights = load_ints(at.value);
  for_each_number<Entries>([&](auto entry) __attribute__((always_inline)) {
    const uint8_t* const x = panel + at.column[entry.value] * pitch;
    for_each_pixels<Vectors>(x, [&](int v, Pixels four) __attribute__((always_inline)) {
      for_each_number<Block>([&](auto m) __attribute__((always_inline)) {
        sums[m.value][v] = dot_lane<entry.value * Block + m.value>(sums[m.value][v], four, weights);
      });
    });
  });
  at.column += Entries;
  at.value += Entries * Block;
}

template <int Vectors, int Block>
PU_INLINE void add_entries(Cursor& at, const uint8_t* panel, ptrdiff_t pitch, IntVec (&sums)[Block][Vectors]) {
  constexpr int kEntries = kWeights / Block;
  const uint16_t* const last = at.column + (at.start[1] - at.start[0]);
  for (++at.start; last - at.column >= kEntries;) add_together<kEntries>(at, panel, pitch, sums);
  if (kEntries > 2 && last - at.column >= 2) add_together<kEntries / 2>(at, panel, pitch, sums);
  if (kEntries > 1 && last > at.column) add_together<1>(at, panel, pitch, sums);
}
#else
template <int Vectors, int Block>
PU_INLINE void add_entries(Cursor& at, const uint8_t* panel, ptrdiff_t pitch, IntVec (&sums)[Block][Vectors]) {
  const uint16_t* const last = at.column + (at.start[1] - at.start[0]);
  for (++at.start; at.column < last; ++at.column, at.value += Block) {
    const uint8_t* const x = panel + *at.column * pitch;
    Weights weight[Block];
    PU_UNROLL(4)
    for (int m = 0; m < Block; ++m) weight[m] = weights(broadcast_int(at.value[m]));
    PU_UNROLL(24)
    for (int v = 0; v < Vectors; ++v) {
      const Pixels four = panel_pixels(load_aligned_ints(x + v * kLanes * kGroup));
      PU_UNROLL(4)
      for (int m = 0; m < Block; ++m) sums[m][v] = dot(sums[m][v], four, weight[m]);
    }
  }
}
#endif

template <int Vectors, int Block, int End>
void sparse_tile(const SparseRows& rows, const Tile& given) {
  constexpr bool Last = End != kWaits;
  const Tile tile = given;  // the compiler then knows that no store changes it
  const Finish finish(tile.finish);
  const ptrdiff_t first = rows.start[rows.first];
  Cursor at{rows.start + rows.first, rows.column + first, rows.value + first * Block};
  for (ptrdiff_t row = ptrdiff_t{rows.first} * Block, last = ptrdiff_t{rows.last} * Block; row < last; row += kGroup) {
    Rows<Vectors> finished;
    IntVec sums[4][Vectors];  // the compiler keeps what is alive of it in registers: all loops here are unrolled
    PU_UNROLL(4)
    for (int m = 0; m < kGroup; m += Block) {
      IntVec(&block)[Block][Vectors] = reinterpret_cast<IntVec(&)[Block][Vectors]>(sums[m]);
      PU_UNROLL(4)
      for (int i = 0; i < Block; ++i) start_row(tile, row + m + i, block[i]);
      add_entries<Vectors, Block>(at, tile.panel, tile.panel_pitch, block);
      PU_UNROLL(4)
      for (int i = 0; i < Block; ++i) {
        if (Last)
          finish_row<End>(tile, finish, row + m + i, block[i]);
        else
          store_row(tile, row + m + i, block[i]);
        if (Last) finished.join(sums, m + i);
      }
    }
    if (Last) finished.store(tile.output + row / kGroup * tile.output_pitch, finish.clamp);
  }
}

template <int Vectors>
PU_INLINE void add_word(const uint8_t* panel, Weights weight, IntVec (&sums)[Vectors]) {
  PU_UNROLL(24)
  for (int v = 0; v < Vectors; ++v)
    sums[v] = dot(sums[v], panel_pixels(load_aligned_ints(panel + v * kLanes * kGroup)), weight);
}

template <int Vectors, int End>
void paired_tile(const PairedRows& rows, const Tile& given) {
  constexpr bool Last = End != kWaits;
  const Tile tile = given;
  const Finish finish(tile.finish);
  const int32_t* start = rows.start + ptrdiff_t{rows.first} * 3;
  const uint16_t* column = rows.column + *start;
  const int32_t* value = rows.value + rows.word[rows.first];
  const auto add_own = [&](IntVec(&sums)[Vectors], int32_t count) __attribute__((always_inline)) {
    for (const uint16_t* const end = column + count; column < end; ++column, ++value)
      add_word(tile.panel + *column * tile.panel_pitch, weights(broadcast_int(*value)), sums);
  };
  for (ptrdiff_t row = ptrdiff_t{rows.first} * 2, last = ptrdiff_t{rows.last} * 2; row < last; row += kGroup) {
    Rows<Vectors> finished;
    IntVec sums[kGroup][Vectors];
    PU_UNROLL(2)
    for (int m = 0; m < kGroup; m += 2, start += 3) {
      start_row(tile, row + m, sums[m]);
      start_row(tile, row + m + 1, sums[m + 1]);
      for (const uint16_t* const end = column + (start[1] - start[0]); column < end; ++column, value += 2) {
        const uint8_t* const x = tile.panel + *column * tile.panel_pitch;
        const Weights first = weights(broadcast_int(value[0])), second = weights(broadcast_int(value[1]));
        PU_UNROLL(24)
        for (int v = 0; v < Vectors; ++v) {
          const Pixels four = panel_pixels(load_aligned_ints(x + v * kLanes * kGroup));
          sums[m][v] = dot(sums[m][v], four, first);
          sums[m + 1][v] = dot(sums[m + 1][v], four, second);
        }
      }
      add_own(sums[m], start[2] - start[1]);
      add_own(sums[m + 1], start[3] - start[2]);
      PU_UNROLL(2)
      for (int i = 0; i < 2; ++i) {
        if (Last)
          finish_row<End>(tile, finish, row + m + i, sums[m + i]);
        else
          store_row(tile, row + m + i, sums[m + i]);
        if (Last) finished.join(sums, m + i);
      }
    }
    if (Last) finished.store(tile.output + row / kGroup * tile.output_pitch, finish.clamp);
  }
}

template <int Vectors, int End>
void dense_tile(const DenseRows& rows, const Tile& given) {
  constexpr bool Last = End != kWaits;
  const Tile tile = given;
  const Finish finish(tile.finish);
  for (ptrdiff_t row = rows.first_row; row < rows.last_row; row += kGroup) {
    const int32_t* value = rows.value + row / kGroup * rows.group_pitch;
    IntVec sums[kGroup][Vectors];
    PU_UNROLL(4)
    for (int m = 0; m < kGroup; ++m) start_row(tile, row + m, sums[m]);
    const uint8_t* x = tile.panel;
    for (int32_t k = 0; k < rows.depth; ++k, value += kGroup, x += tile.panel_pitch) {
      Pixels four[Vectors];
#if PU_NEON
      const IntVec weights = load_ints(value);
      for_each_pixels<Vectors>(x, [&](int v, Pixels loaded) __attribute__((always_inline)) { four[v] = loaded; });
      for_each_number<kGroup>([&](auto m) __attribute__((always_inline)) {
        PU_UNROLL(24)
        for (int v = 0; v < Vectors; ++v) sums[m.value][v] = dot_lane<m.value>(sums[m.value][v], four[v], weights);
      });
#else
      PU_UNROLL(24)
      for (int v = 0; v < Vectors; ++v) four[v] = panel_pixels(load_aligned_ints(x + v * kLanes * kGroup));
      PU_UNROLL(4)
      for (int m = 0; m < kGroup; ++m) {
        const Weights weight = weights(broadcast_int(value[m]));
        PU_UNROLL(24)
        for (int v = 0; v < Vectors; ++v) sums[m][v] = dot(sums[m][v], four[v], weight);
      }
#endif
    }
    Rows<Vectors> finished;
    PU_UNROLL(4)
    for (int m = 0; m < kGroup; ++m) {
      if (Last)
        finish_row<End>(tile, finish, row + m, sums[m]);
      else
        store_row(tile, row + m, sums[m]);
      if (Last) finished.join(sums, m);
    }
    if (Last) finished.store(tile.output + row / kGroup * tile.output_pitch, finish.clamp);
  }
}

// Calls function(end) with the Ending of a tile as a constant.
template <typename Function>
PU_INLINE void with_ending(const Tile& tile, const Function& function) {
  if (!tile.last)
    function(Number<kWaits>{});
  else if (tile.finish.swish != 0)
    function(Number<kSwish>{});
  else if (tile.finish.added != nullptr)
    function(Number<kAdded>{});
  else
    function(Number<kBytes>{});
}

template <int Block>
struct SparseRun {
  const SparseRows& rows;
  const Tile& tile;
  template <int Vectors>
  void with() const {
    with_ending(tile, [&](auto end) { sparse_tile<Vectors * kTogether, Block, end.value>(rows, tile); });
  }
};

struct PairedRun {
  const PairedRows& rows;
  const Tile& tile;
  template <int Vectors>
  void with() const {
    with_ending(tile, [&](auto end) { paired_tile<Vectors * kTogether, end.value>(rows, tile); });
  }
};

struct DenseRun {
  const DenseRows& rows;
  const Tile& tile;
  template <int Vectors>
  void with() const {
    with_ending(tile, [&](auto end) { dense_tile<Vectors * kTogether, end.value>(rows, tile); });
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

// ---- a single pixel ----------------------------------------------------------------------------------------------

PU_INLINE Quad words(const int32_t* from) {  // of one entry; reads four, the array is padded
  Quad w;
  std::memcpy(&w, from, sizeof w);
  return w;
}

template <int Block>
void sparse_vector(const SparseVector& task) {
  constexpr int kChains = 4;  // independent sums hide the latency
  for (int32_t i = task.rows.first; i < task.rows.last; ++i) {
    const int32_t last = task.rows.start[i + 1];
    Quad sums[kChains] = {};
    int32_t e = task.rows.start[i];
    const auto step = [&](int chain) {
      sums[chain] = dot4(sums[chain], word_at(task.input + task.rows.column[e] * kGroup),
                         words(task.rows.value + static_cast<ptrdiff_t>(e) * Block));
      ++e;
    };
    while (e + kChains <= last) {
      PU_UNROLL(4)
      for (int c = 0; c < kChains; ++c) step(c);
    }
    while (e < last) step(0);
    const Quad total = sums[0] + sums[1] + sums[2] + sums[3];
    PU_UNROLL(4)
    for (int m = 0; m < Block; ++m) {
      const ptrdiff_t row = static_cast<ptrdiff_t>(i) * Block + m;
      task.output[row] = (task.first ? task.bias[row] : task.output[row]) + total[m];
    }
  }
}

void paired_vector(const PairedVector& task) {
  const int32_t* start = task.rows.start + ptrdiff_t{task.rows.first} * 3;
  const uint16_t* column = task.rows.column + *start;
  const int32_t* value = task.rows.value + task.rows.word[task.rows.first];
  const auto sum_of = [&](int32_t count, int32_t each) {  // each: words of an entry
    Quad sum{};
    for (const uint16_t* const end = column + count; column < end; ++column, value += each)
      sum = dot4(sum, word_at(task.input + *column * kGroup), words(value));
    return sum;
  };
  for (int32_t row = task.rows.first * 2; row < task.rows.last * 2; row += 2, start += 3) {
    const Quad both = sum_of(start[1] - start[0], 2);
    for (int m = 0; m < 2; ++m) {
      const int32_t own = sum_of(start[m + 2] - start[m + 1], 1)[0];
      task.output[row + m] = (task.first ? task.bias[row + m] : task.output[row + m]) + both[m] + own;
    }
  }
}

// kLanes / 4 panel rows at a time, each repeated for the four outputs whose weights lie side by side.
void dense_vector(const DenseVector& task) {
  constexpr int kStep = kLanes / kGroup;
  const IntVec repeat = lane_numbers() / kGroup;
  const int32_t depth = task.rows.depth;
  for (ptrdiff_t row = task.rows.first_row; row < task.rows.last_row; row += kGroup) {
    const int32_t* const value = task.rows.value + row / kGroup * task.rows.group_pitch;
    IntVec sums[2] = {};
    int32_t k = 0;
    const auto step = [&](int chain) {  // the input may be read beyond: there is a guard
      sums[chain] = dot(sums[chain], pixels(__builtin_shuffle(load_ints(task.input + k * kGroup), repeat)),
                        weights(load_ints(value + k * kGroup)));
      k += kStep;
    };
    while (k + 2 * kStep <= depth) {
      step(0);
      step(1);
    }
    while (k + kStep <= depth) step(0);
    Quad rest{};
    for (; k < depth; ++k) rest = dot4(rest, word_at(task.input + k * kGroup), words(value + k * kGroup));
    const IntVec all = sums[0] + sums[1];
    for (int m = 0; m < kGroup; ++m) {
      int32_t total = task.bias[row + m] + rest[m];
      for (int i = m; i < kLanes; i += kGroup) total += all[i];
      task.output[row + m] = total;
    }
  }
}

}  // namespace
}  // namespace paddle_unstructured::int8
