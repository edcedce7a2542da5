// SPDX-License-Identifier: Apache-2.0
// Weights times a panel, 16 outputs x 16 panel rows x (up to) 4 vectors of pixels at a time, for words of any kind.
//
//   chunk | 16 outputs x 16 panel rows of weights, and these panel rows: in place, or gathered side by side
//   row   | 16 outputs: some chunks, added up in one tile of sums for each vector of pixels
//
//   for each row                                                      multiply_rows
//     for each chunk                                                  add_chunk
//       for each vector: sums[v] += weights x pixels[v]
//                        (row's first chunk) results of vector v of the row before: the tiles multiply meanwhile
//     store the tiles of sums: they become results while the next row is multiplied
//
// A dense row reads the panel where it lies. A sparse one copies the panel rows that it needs two chunks before it
// multiplies them, so that the copies are in the first-level cache and no longer on their way there.

namespace paddle_unstructured {
namespace {

using int8::kPixelRow;
using int8::kTileCount;
using int8::kTileSize;
using int8::load_aligned_ints;
using int8::store_aligned_ints;
using int8::TileUnit;

constexpr int kChunkWords = kTileOutputs * kTileDepth;
constexpr int kAhead = 2;  // chunks that are gathered before they are needed
constexpr int kWeightTile = 4;
static_assert(kTileOutputs == kTileSize && kTileDepth == kTileSize && kTileVectors <= kWeightTile);

// What becomes of the sums is the business of a Finish:
//
//   multiply<To, Weights, Pixels>()   what TileUnit has under this name, for words of its kind
//   Row, row_at(row)                  what the results of a row need, worked out once
//   vector(sums, Row, v)              16 sums of vector v, [output][lane], become results
//   prefetch(rows, row)               what row after `row` will write
//   waits()                           false: sums are kept as they are, by keep(sums, row)
template <typename Finish, int Vectors>
class TileRun {
 public:
  PU_INLINE TileRun(const TileRows& rows, const uint8_t* panel, ptrdiff_t panel_pitch, const Finish& finish)
      : rows_(rows),
        panel_(panel),
        panel_pitch_(panel_pitch),
        finish_(finish) {}

  PU_INLINE void dense() {
    const int32_t whole = rows_.depth / kTileDepth;
    if (rows_.depth % kTileDepth != 0) copy_rest(whole * kTileDepth);
    const int32_t* value = rows_.value + ptrdiff_t{rows_.start[rows_.first]} * kChunkWords;
    const ptrdiff_t step = kTileDepth * panel_pitch_;
    multiply_rows([&](int32_t count, const auto& add) __attribute__((always_inline)) {
      const uint8_t* panel = panel_;
      for (int32_t chunk = 0; chunk < count; ++chunk, panel += step, value += kChunkWords)
        add(value, chunk < whole ? panel : ring_, chunk < whole ? panel_pitch_ : kRowBytes);
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

  struct Waiting {
    const int32_t* sums;  // [vector][output][lane]; null: nothing waits
    typename Finish::Row row;
  };

  template <typename ForEachChunk>
  PU_INLINE void multiply_rows(const ForEachChunk& for_each_chunk) {
    Waiting waiting{};
    for (int32_t row = rows_.first; row < rows_.last; ++row) {
      zero_sums<0>();
      finish_.template prefetch<Vectors>(rows_, row);
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
      waiting = {sums, finish_.row_at(row)};
      if (!finish_.waits()) {
        finish_.template keep<Vectors>(sums, row);
        waiting.sums = nullptr;
      }
    }
    if (waiting.sums != nullptr) finish<0>(waiting);
  }

  template <bool Finishes, int V = 0>
  PU_INLINE void add_chunk(const int32_t* value, const uint8_t* pixels, ptrdiff_t pitch, const Waiting& waiting) {
    constexpr int kPixelTile = kWeightTile + 1 + V % (kTileCount - kWeightTile - 1);
    if constexpr (V == 0) TileUnit::load_weights<kWeightTile>(value);
    TileUnit::load_pixels<kPixelTile>(pixels + V * kPixelRow, pitch);
    Finish::template multiply<V, kWeightTile, kPixelTile>();
    if constexpr (Finishes) finish_vector<V>(waiting);
    if constexpr (V + 1 < Vectors) add_chunk<Finishes, V + 1>(value, pixels, pitch, waiting);
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
    finish_vector<V>(waiting);
    if constexpr (V + 1 < Vectors) finish<V + 1>(waiting);
  }

  template <int V>
  PU_INLINE void finish_vector(const Waiting& waiting) {
    finish_.vector(waiting.sums + V * kTileOutputs * kLanes, waiting.row, V);
  }

  PU_INLINE void gather(const uint16_t* column, uint8_t* to) const {
    PU_UNROLL(16)
    for (int k = 0; k < kTileDepth; ++k, to += kRowBytes) copy_row(column[k], to);
  }

  PU_INLINE void copy_row(int32_t k, uint8_t* to) const {
    const uint8_t* const from = panel_ + k * panel_pitch_;
    PU_UNROLL(4)
    for (int v = 0; v < Vectors; ++v) store_aligned_ints(to + v * kPixelRow, load_aligned_ints(from + v * kPixelRow));
  }

  // The last panel rows, filled up to a tile with zeros: beyond the panel nothing may be read.
  PU_INLINE void copy_rest(int32_t first) {
    std::memset(ring_, 0, kSlotBytes);
    for (int32_t k = first; k < rows_.depth; ++k) copy_row(k, ring_ + (k - first) * kRowBytes);
  }

  const TileRows rows_;
  const uint8_t* const panel_;
  const ptrdiff_t panel_pitch_;
  const Finish finish_;
  alignas(64) int32_t sums_[2][Vectors * kTileOutputs * kLanes];
  alignas(64) uint8_t ring_[(kAhead + 1) * kSlotBytes];
};

}  // namespace
}  // namespace paddle_unstructured
