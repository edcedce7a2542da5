// SPDX-License-Identifier: Apache-2.0
// bfloat16 on tiles (../tile_run.inl has the loops): sums become words of two outputs, or float32.

namespace paddle_unstructured::bf16 {
namespace {

constexpr int kPair = 2, kRowsAhead = 2;

#if PU_TILES != 1
PU_TILE_WORK void add_products(const TileUnit::Tile& weights, const TileUnit::Tile& pixels, TileUnit::Tile* sums) {
  Vec low[kTileSize], high[kTileSize];
  for (int k = 0; k < kTileSize; ++k) {
    const IntVec words = int8::load_ints(pixels.row[k]);
    low[k] = low_of(words);
    high[k] = high_of(words);
  }
  for (int m = 0; m < kTileSize; ++m) {
    Vec even{}, odd{};
    for (int k = 0; k < kTileSize; ++k) {
      const IntVec weight = int8::broadcast_int(weights.row[m][k]);
      even = fma(low_of(weight), low[k], even);
      odd = fma(high_of(weight), high[k], odd);
    }
    auto* const row = reinterpret_cast<float*>(sums->row[m]);
    store(row, plus(load(row), plus(even, odd)));
  }
}
#endif

template <bool Real>
class PairTiles {
 public:
  explicit PU_INLINE PairTiles(const Tile& tile)
      : tile_(tile),
        low_(broadcast(tile.low)),
        high_(broadcast(tile.high)) {}

#if PU_TILES == 1
  template <int To, int Weights, int Pixels>
  static PU_INLINE void multiply() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(To), "i"(Weights), "i"(Pixels));
  }
#else
  template <int To, int Weights, int Pixels>
  static PU_INLINE void multiply() {
    TileUnit::Tile* const tiles = TileUnit::tiles();
    add_products(tiles[Weights], tiles[Pixels], &tiles[To]);
  }
#endif

  using Row = int32_t;
  PU_INLINE Row row_at(int32_t row) const { return row; }
  PU_INLINE bool waits() const { return true; }
  template <int Vectors>
  PU_INLINE void keep(const int32_t*, int32_t, int) const {}

  PU_TILE_WORK void vector(const int32_t* sums, int32_t at, int v) const {
    const int32_t first = at * kTileOutputs;
    for (int m = 0; m < kTileOutputs; m += kPair) {
      const int32_t output = first + m;
      Vec made[kPair];
      PU_UNROLL(2)
      for (int i = 0; i < kPair; ++i) {
        const Vec sum = reinterpret_cast<Vec>(load_aligned_ints(sums + (m + i) * kLanes));
        made[i] = plus(sum, broadcast(tile_.bias[output + i]));
      }
      if (tile_.added != nullptr) {
        const IntVec added = load_aligned_ints(tile_.added + output / kPair * tile_.added_pitch + v * kPixelRow);
        made[0] = plus(made[0], low_of(added));
        made[1] = plus(made[1], high_of(added));
      }
      PU_UNROLL(2)
      for (int i = 0; i < kPair; ++i) made[i] = clamp(made[i], low_, high_);
      if constexpr (Real) {
        PU_UNROLL(2)
        for (int i = 0; i < kPair; ++i)
          if (output + i < tile_.outputs)
            store_aligned(reinterpret_cast<float*>(tile_.output + (output + i) * tile_.output_pitch + v * kPixelRow),
                          made[i]);
      } else {
        store_aligned_ints(tile_.output + output / kPair * tile_.output_pitch + v * kPixelRow,
                           words_of(made[0], made[1]));
      }
    }
  }

  // As int8's does.
  template <int Vectors>
  PU_TILE_WORK void prefetch(const TileRows& rows, int32_t row) const {
    constexpr int kLines = Real ? kTileOutputs : kTileOutputs / kPair;
    const int32_t next = row + kRowsAhead;
    const bool same_tile = next < rows.last;
    const int32_t from = same_tile ? next : most(rows.first, next - (rows.last - rows.first));
    const ptrdiff_t pixels = same_tile ? 0 : Vectors * kPixelRow;
    for (int line = 0; line < kLines; ++line)
      for (int v = 0; v < Vectors; ++v) {
        const ptrdiff_t at = ptrdiff_t{from} * kLines + line, pixel = pixels + v * kPixelRow;
        __builtin_prefetch(tile_.output + at * tile_.output_pitch + pixel, 1);
        if (tile_.added != nullptr && (!Real || line % kPair == 0))
          __builtin_prefetch(tile_.added + at / (Real ? kPair : 1) * tile_.added_pitch + pixel);
      }
  }

 private:
  const Tile tile_;
  const Vec low_, high_;
};

struct TileMultiply {
  const TileRows& rows;
  const Tile& tile;
  template <int Vectors>
  void with() const {
    return tile.real ? run<Vectors, true>() : run<Vectors, false>();
  }

  template <int Vectors, bool Real>
  void run() const {
    TileRun<PairTiles<Real>, Vectors> made(rows, tile.panel, tile.panel_pitch, PairTiles<Real>(tile));
    return rows.column == nullptr ? made.dense() : made.sparse();
  }
};

void multiply(const TileRows& rows, const Tile& tile) {
  if (rows.first == rows.last) return;
  const Flushing flushing;
  TileUnit::begin();
  with_constant<kTileVectors>(tile.vectors, TileMultiply{rows, tile});
  TileUnit::end();
}

}  // namespace
}  // namespace paddle_unstructured::bf16
