// SPDX-License-Identifier: Apache-2.0
// Weights times a panel, 16 outputs x 16 panel rows x (up to) 4 vectors of pixels at a time.
//
//   chunk | 16 outputs x 16 panel rows of weights, and these panel rows: in place, or gathered side by side
//   row   | 16 outputs: some chunks, added up in one tile of sums for each vector of pixels
//
//   for each row                                                      multiply_rows
//     for each chunk                                                  add_chunk
//       for each vector: sums[v] += weights x pixels[v]
//                        (row's first chunk) bytes of vector v of the row before: the tiles multiply meanwhile
//     store the tiles of sums: they become bytes while the next row is multiplied
//
// A dense row reads the panel where it lies. A sparse one copies the panel rows that it needs two chunks before it
// multiplies them, so that the copies are in the first-level cache and no longer on their way there.

namespace paddle_unstructured::int8 {
namespace {

constexpr int kChunkWords = kTileOutputs * kTileDepth;
constexpr int kAhead = 2;  // chunks that are gathered before they are needed
constexpr int kRowsAhead = 2;
constexpr int kWeightTile = 4;
static_assert(kTileOutputs == kTileSize && kTileDepth == kTileSize && kTileVectors <= kWeightTile);

// The sums of a row that wait to become bytes.
struct Waiting {
  const int32_t* sums;  // [vector][output][lane]; null: nothing waits
  const int32_t* bias;
  const float* scale;
  uint8_t* output;
  const uint8_t* added;  // null: nothing
};

// `Swish`: a hard-swish follows.
template <int Vectors, bool Swish>
class TileRun {
 public:
  PU_INLINE TileRun(const TileRows& rows, const Tile& tile)
      : rows_(rows),
        tile_(tile),
        zero_(broadcast(tile.finish.zero)),
        added_scale_(broadcast(tile.finish.added_scale)),
        clamp_(clamp_of(tile.finish)) {}

  PU_INLINE void dense() {
    const int32_t whole = rows_.depth / kTileDepth;
    if (rows_.depth % kTileDepth != 0) copy_rest(whole * kTileDepth);
    const int32_t* value = rows_.value + ptrdiff_t{rows_.start[rows_.first]} * kChunkWords;
    const ptrdiff_t step = kTileDepth * tile_.panel_pitch;
    multiply_rows([&](int32_t count, const auto& add) __attribute__((always_inline)) {
      const uint8_t* panel = tile_.panel;
      for (int32_t chunk = 0; chunk < count; ++chunk, panel += step, value += kChunkWords)
        add(value, chunk < whole ? panel : ring_, chunk < whole ? tile_.panel_pitch : kRowBytes);
    });
  }

  PU_INLINE void sparse() {
    const ptrdiff_t first = rows_.start[rows_.first];
    const int32_t* value = rows_.value + first * kChunkWords;
    const uint16_t* column = rows_.column + first * kTileDepth;
    for (int slot = 0; slot < kAhead; ++slot, column += kTileDepth) gather(column, ring_ + slot * kSlotBytes);
    int now = 0, next = kAhead;
    multiply_rows([&](int32_t count, const auto& add) __attribute__((always_inline)) {
      for (int32_t chunk = 0; chunk < count; ++chunk, value += kChunkWords, column += kTileDepth) {
        add(value, ring_ + now * kSlotBytes, kRowBytes);
        gather(column, ring_ + next * kSlotBytes);
        now = now == kAhead ? 0 : now + 1;
        next = next == kAhead ? 0 : next + 1;
      }
    });
  }

 private:
  static constexpr ptrdiff_t kRowBytes = Vectors * kPixelRow, kSlotBytes = kTileDepth * kRowBytes;

  template <typename ForEachChunk>
  PU_INLINE void multiply_rows(const ForEachChunk& for_each_chunk) {
    Waiting waiting{};
    for (int32_t row = rows_.first; row < rows_.last; ++row) {
      zero_sums<0>();
      prefetch(row);
      for_each_chunk(rows_.start[row + 1] - rows_.start[row],
                     [&](const int32_t* value, const uint8_t* pixels, ptrdiff_t pitch) __attribute__((always_inline)) {
                       if (waiting.sums != nullptr) {
                         add_chunk<true>(value, pixels, pitch, waiting);
                         waiting.sums = nullptr;
                       } else {
                         add_chunk<false>(value, pixels, pitch, waiting);
                       }
                     });
      if (waiting.sums != nullptr) finish<0>(waiting);  // a row without weights
      int32_t* const sums = sums_[row % 2];
      store_sums<0>(sums);
      const ptrdiff_t output = ptrdiff_t{row} * kTileOutputs;
      const ptrdiff_t groups = output / kGroup * tile_.output_pitch;
      waiting = {sums, tile_.bias + output, tile_.finish.scale + output, tile_.output + groups,
                 tile_.finish.added == nullptr ? nullptr : tile_.finish.added + groups};
      if (!tile_.last) {
        keep(waiting, tile_.sums + output * Vectors * kLanes);
        waiting.sums = nullptr;
      }
    }
    if (waiting.sums != nullptr) finish<0>(waiting);
  }

  template <bool Finish, int V = 0>
  PU_INLINE void add_chunk(const int32_t* value, const uint8_t* pixels, ptrdiff_t pitch, const Waiting& waiting) {
    constexpr int kPixelTile = kWeightTile + 1 + V % (kTileCount - kWeightTile - 1);
    if constexpr (V == 0) TileUnit::load_weights<kWeightTile>(value);
    TileUnit::load_pixels<kPixelTile>(pixels + V * kPixelRow, pitch);
    TileUnit::multiply<V, kWeightTile, kPixelTile>();
    if constexpr (Finish) finish_vector(waiting, V);
    if constexpr (V + 1 < Vectors) add_chunk<Finish, V + 1>(value, pixels, pitch, waiting);
  }

  template <int V>
  PU_INLINE void zero_sums() {
    TileUnit::zero<V>();
    if constexpr (V + 1 < Vectors) zero_sums<V + 1>();
  }

  template <int V>
  PU_INLINE void store_sums(int32_t* to) {
    TileUnit::store<V>(to + V * kTileOutputs * kLanes);
    if constexpr (V + 1 < Vectors) store_sums<V + 1>(to);
  }

  template <int V>
  PU_INLINE void finish(const Waiting& waiting) {
    finish_vector(waiting, V);
    if constexpr (V + 1 < Vectors) finish<V + 1>(waiting);
  }

  // Vector v of 16 outputs, from sums to bytes.
  PU_INLINE void finish_vector(const Waiting& waiting, int v) {
    const int32_t* const sums = waiting.sums + v * kTileOutputs * kLanes;
    uint8_t* to = waiting.output + v * kPixelRow;
    PU_UNROLL(4)
    for (int row = 0; row < kTileOutputs; row += kGroup, to += tile_.output_pitch) {
      IntVec made[kGroup];
      PU_UNROLL(4)
      for (int m = 0; m < kGroup; ++m) {
        const IntVec sum = load_aligned_ints(sums + (row + m) * kLanes) + broadcast_int(waiting.bias[row + m]);
        Vec zero = zero_;
        if (waiting.added != nullptr) {
          const ptrdiff_t group = row / kGroup * tile_.output_pitch;
          zero = fused(floats(byte_of_words(load_aligned_ints(waiting.added + group + v * kPixelRow), m)), added_scale_,
                       zero_);
        }
        const Vec real = fused(floats(sum), broadcast(waiting.scale[row + m]), zero);
        made[m] = quantized(Swish ? hard_swished(real, tile_.finish) : real);
      }
      store_aligned_ints(to, clamped(interleaved(pair(made[0], made[1]), pair(made[2], made[3])), clamp_));
    }
  }

  // What the row after next will write and add: most of a large plane has left the cache, and a store waits as long for
  // its line as a load does. After the last row come the first ones of the next tile of pixels.
  PU_INLINE void prefetch(int32_t row) const {
    if (!tile_.last) return;
    const int32_t next = row + kRowsAhead;
    const bool same_tile = next < rows_.last;
    const ptrdiff_t first = ptrdiff_t{same_tile ? next : most(rows_.first, next - (rows_.last - rows_.first))} *
                            (kTileOutputs / kGroup) * tile_.output_pitch;
    const ptrdiff_t at = first + (same_tile ? 0 : Vectors * kPixelRow);
    for (int group = 0; group < kTileOutputs / kGroup; ++group) {
      const ptrdiff_t line = at + group * tile_.output_pitch;
      PU_UNROLL(4)
      for (int v = 0; v < Vectors; ++v) {
        __builtin_prefetch(tile_.output + line + v * kPixelRow, 1);
        if (tile_.finish.added != nullptr) __builtin_prefetch(tile_.finish.added + line + v * kPixelRow);
      }
    }
  }

  // As sums, [output][vector].
  PU_INLINE void keep(const Waiting& waiting, int32_t* to) {
    for (int m = 0; m < kTileOutputs; ++m)
      for (int v = 0; v < Vectors; ++v, to += kLanes)
        store_aligned_ints(
            to, load_aligned_ints(waiting.sums + (v * kTileOutputs + m) * kLanes) + broadcast_int(waiting.bias[m]));
  }

  PU_INLINE void gather(const uint16_t* column, uint8_t* to) const {
    PU_UNROLL(16)
    for (int k = 0; k < kTileDepth; ++k, to += kRowBytes) copy_row(column[k], to);
  }

  PU_INLINE void copy_row(int32_t k, uint8_t* to) const {
    const uint8_t* const from = tile_.panel + k * tile_.panel_pitch;
    PU_UNROLL(4)
    for (int v = 0; v < Vectors; ++v) store_aligned_ints(to + v * kPixelRow, load_aligned_ints(from + v * kPixelRow));
  }

  // The last panel rows, filled up to a tile with zeros: beyond the panel nothing may be read.
  PU_INLINE void copy_rest(int32_t first) {
    std::memset(ring_, 0, kSlotBytes);
    for (int32_t k = first; k < rows_.depth; ++k) copy_row(k, ring_ + (k - first) * kRowBytes);
  }

  const TileRows rows_;
  const Tile tile_;
  const Vec zero_, added_scale_;
  const ByteClamp clamp_;
  alignas(64) int32_t sums_[2][Vectors * kTileOutputs * kLanes];
  alignas(64) uint8_t ring_[(kAhead + 1) * kSlotBytes];
};

struct TileMultiply {
  const TileRows& rows;
  const Tile& tile;
  template <int Vectors>
  void with() const {
    return tile.finish.swish != 0 ? run<Vectors, true>() : run<Vectors, false>();
  }

  template <int Vectors, bool Swish>
  void run() const {
    TileRun<Vectors, Swish> made(rows, tile);
    return rows.column == nullptr ? made.dense() : made.sparse();
  }
};

void multiply_tiles(const TileRows& rows, const Tile& tile) {
  if (rows.first == rows.last) return;
  TileUnit::begin();
  with_constant<kTileVectors>(tile.vectors, TileMultiply{rows, tile});
  TileUnit::end();
}

// A single pixel leaves 15 of 16 columns of a tile empty: vectors of products instead, one for each output.
void multiply_tiles_vector(const TileVector& task) {
  const TileRows& rows = task.rows;
  for (int32_t row = rows.first; row < rows.last; ++row) {
    IntVec sums[kTileOutputs] = {};
    for (int32_t chunk = rows.start[row]; chunk < rows.start[row + 1]; ++chunk) {
      alignas(64) int32_t words[kTileDepth] = {};
      for (int k = 0; k < kTileDepth; ++k) {
        const int32_t place = (chunk - rows.start[row]) * kTileDepth + k;
        if (rows.column != nullptr)
          words[k] = word_at(task.input + rows.column[chunk * kTileDepth + k] * kGroup);
        else if (place < rows.depth)
          words[k] = word_at(task.input + place * kGroup);
      }
      const int32_t* value = rows.value + ptrdiff_t{chunk} * kChunkWords;
      PU_UNROLL(16)
      for (int m = 0; m < kTileOutputs; ++m, value += kTileDepth)
        for (int k = 0; k < kTileDepth; k += kLanes)
          sums[m] = dot(sums[m], pixels(load_aligned_ints(words + k)), weights(load_aligned_ints(value + k)));
    }
    for (int m = 0; m < kTileOutputs; ++m) {
      const ptrdiff_t output = ptrdiff_t{row} * kTileOutputs + m;
      int32_t total = task.bias[output];
      for (int i = 0; i < kLanes; ++i) total += sums[m][i];
      task.output[output] = total;
    }
  }
}

}  // namespace
}  // namespace paddle_unstructured::int8
