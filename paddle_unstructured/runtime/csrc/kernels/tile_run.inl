// SPDX-License-Identifier: Apache-2.0
// Weights times a panel, 16 outputs x 16 panel rows x 16 pixels at a time, for words of any kind.
//
//   chunk | 16 outputs x 16 panel rows of weights, and these panel rows: in place, or gathered side by side
//   row   | 16 outputs: some chunks, added up in one tile of sums for each vector of pixels
//   group | 1 row x (up to) 4 vectors, or 2 rows x 2 vectors: what eight tiles hold, with weights and pixels
//
//   for each group                                                    multiply
//     for each chunk of its rows                                      add_chunk
//       for each of its tiles: sums[row][v] += weights[row] x pixels[v]
//                        (first chunk) results of a tile of the group before: the tiles multiply meanwhile
//     store the tiles of sums: they become results while the next group is multiplied
//
// A dense row reads the panel where it lies. Two of them share what they read: four loads for four products instead of
// five, and half as many of pixels, which the first-level cache mostly does not hold. A sparse row copies the panel
// rows that it needs two chunks before it multiplies them, so that the copies are in the first-level cache and no
// longer on their way there.

namespace paddle_unstructured {
namespace {

using int8::kPixelRow;
using int8::kTileCount;
using int8::kTileSize;
using int8::load_aligned_ints;
using int8::store_aligned_ints;
using int8::TileUnit;

constexpr int kChunkWords = kTileOutputs * kTileDepth;
constexpr int kAhead = 2;     // chunks that are gathered before they are needed
constexpr int kSumTiles = 4;  // then those of weights, of each row one, and those of pixels
static_assert(kTileOutputs == kTileSize && kTileDepth == kTileSize && kTileVectors <= kSumTiles);

// What becomes of the sums is the business of a Finish:
//
//   multiply<To, Weights, Pixels>()   what TileUnit has under this name, for words of its kind
//   Row, row_at(row)                  what the results of a row need, worked out once
//   vector(sums, Row, v)              16 sums of vector v, [output][lane], become results
//   prefetch(rows, row)               what row after `row` will write
//   waits()                           false: sums are kept as they are, by keep<Vectors>(sums, row, v)
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
    Waiting waiting{};
    int32_t row = rows_.first;
    for (; row + 1 < rows_.last; row += 2) dense_rows<2>(row, whole, waiting);
    if (row < rows_.last) dense_rows<1>(row, whole, waiting);
    finish(waiting);
  }

  PU_INLINE void sparse() {
    const ptrdiff_t first = rows_.start[rows_.first];
    const int32_t* value = rows_.value + first * kChunkWords;
    const uint16_t* column = rows_.column + first * kTileDepth;
    for (int slot = 0; slot < kAhead; ++slot, column += kTileDepth) gather(column, ring_ + slot * kSlotBytes);
    int now = 0, next = kAhead;
    Waiting waiting{};
    for (int32_t row = rows_.first; row < rows_.last; ++row) {
      finish_.template prefetch<Vectors>(rows_, row);
      const int32_t count = rows_.start[row + 1] - rows_.start[row];
      multiply<1, 0>(row, waiting, [&](const auto& add) __attribute__((always_inline)) {
        for (int32_t chunk = 0; chunk < count; ++chunk, value += kChunkWords, column += kTileDepth) {
          add(value, 0, ring_ + now * kSlotBytes, kRowBytes);
          gather(column, ring_ + next * kSlotBytes);
          now = now == kAhead ? 0 : now + 1;
          next = next == kAhead ? 0 : next + 1;
        }
      });
    }
    finish(waiting);
  }

 private:
  static constexpr ptrdiff_t kRowBytes = Vectors * kPixelRow, kSlotBytes = kTileDepth * kRowBytes;

  // A group whose sums are to become results.
  struct Waiting {
    const int32_t* sums;  // [row][vector][output][lane]; null: nothing waits
    int v, width, tiles;  // its first vector, its vectors, and those of all its rows
    typename Finish::Row rows[2];
  };

  template <int Rows>
  static constexpr int width_from(int v) {  // vectors of a group
    const int most = Rows == 1 ? kTileVectors : 2;
    return Vectors - v < most ? Vectors - v : most;
  }

  // `Rows` rows, one group after the other from vector V on.
  template <int Rows, int V = 0>
  PU_INLINE void dense_rows(int32_t row, int32_t whole, Waiting& waiting) {
    if constexpr (V == 0)
      for (int r = 0; r < Rows; ++r) finish_.template prefetch<Vectors>(rows_, row + r);
    const ptrdiff_t count = rows_.start[row + 1] - rows_.start[row];
    const int32_t* value = rows_.value + ptrdiff_t{rows_.start[row]} * kChunkWords;
    multiply<Rows, V>(row, waiting, [&](const auto& add) __attribute__((always_inline)) {
      const uint8_t* panel = panel_;
      for (ptrdiff_t chunk = 0; chunk < count; ++chunk, panel += kTileDepth * panel_pitch_, value += kChunkWords)
        add(value, count * kChunkWords, chunk < whole ? panel : ring_, chunk < whole ? panel_pitch_ : kRowBytes);
    });
    if constexpr (V + width_from<Rows>(V) < Vectors) dense_rows<Rows, V + width_from<Rows>(V)>(row, whole, waiting);
  }

  // Calls for_each_chunk(add(weights of a chunk, words to those of the next row, pixels, pitch)).
  template <int Rows, int V, typename ForEachChunk>
  PU_INLINE void multiply(int32_t row, Waiting& waiting, const ForEachChunk& for_each_chunk) {
    constexpr int kWidth = width_from<Rows>(V), kTiles = Rows * kWidth;
    zero_sums<kTiles>();
    for_each_chunk([&](const int32_t* value, ptrdiff_t next_row, const uint8_t* pixels, ptrdiff_t pitch)
                       __attribute__((always_inline)) {
                         pixels += V * kPixelRow;
                         if (waiting.sums != nullptr) {
                           add_chunk<Rows, kWidth, true>(value, next_row, pixels, pitch, waiting);
                           for (int i = kTiles; i < waiting.tiles; ++i) finish_tile(waiting, i);
                           waiting.sums = nullptr;
                         } else {
                           add_chunk<Rows, kWidth, false>(value, next_row, pixels, pitch, waiting);
                         }
                       });
    finish(waiting);  // before a row without weights
    int32_t* const sums = sums_[which_sums_];
    which_sums_ = 1 - which_sums_;
    store_sums<kTiles>(sums);
    waiting = {sums, V, kWidth, kTiles, {finish_.row_at(row), finish_.row_at(row + Rows - 1)}};
    if (finish_.waits()) return;
    for (int i = 0; i < kTiles; ++i)
      finish_.template keep<Vectors>(sums + i * kTileSums, row + i / kWidth, V + i % kWidth);
    waiting.sums = nullptr;
  }

  template <int Rows, int Width, bool Finishes, int I = 0>
  PU_INLINE void add_chunk(const int32_t* value, ptrdiff_t next_row, const uint8_t* pixels, ptrdiff_t pitch,
                           const Waiting& waiting) {
    constexpr int kRow = I / Width, kVector = I % Width, kWeights = kSumTiles + kRow;
    constexpr int kPixels = kSumTiles + Rows + kVector % (kTileCount - kSumTiles - Rows);
    if constexpr (kVector == 0) TileUnit::load_weights<kWeights>(value + kRow * next_row);
    if constexpr (kRow == 0) TileUnit::load_pixels<kPixels>(pixels + kVector * kPixelRow, pitch);
    Finish::template multiply<I, kWeights, kPixels>();
    if constexpr (Finishes)
      if (I < waiting.tiles) finish_tile(waiting, I);
    if constexpr (I + 1 < Rows * Width)
      add_chunk<Rows, Width, Finishes, I + 1>(value, next_row, pixels, pitch, waiting);
  }

  template <int Tiles, int I = 0>
  PU_INLINE void zero_sums() {
    TileUnit::zero<I>();
    if constexpr (I + 1 < Tiles) zero_sums<Tiles, I + 1>();
  }

  template <int Tiles, int I = 0>
  PU_INLINE void store_sums(int32_t* to) {
    TileUnit::store<I>(to + I * kTileSums);
    if constexpr (I + 1 < Tiles) store_sums<Tiles, I + 1>(to);
  }

  PU_INLINE void finish(Waiting& waiting) {
    if (waiting.sums == nullptr) return;
    for (int i = 0; i < waiting.tiles; ++i) finish_tile(waiting, i);
    waiting.sums = nullptr;
  }

  PU_INLINE void finish_tile(const Waiting& waiting, int i) {
    finish_.vector(waiting.sums + i * kTileSums, waiting.rows[i >= waiting.width], waiting.v + i % waiting.width);
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
  static constexpr ptrdiff_t kTileSums = kTileOutputs * kLanes;
  int which_sums_ = 0;
  alignas(64) int32_t sums_[2][kSumTiles * kTileSums];
  alignas(64) uint8_t ring_[(kAhead + 1) * kSlotBytes];
};

}  // namespace
}  // namespace paddle_unstructured
