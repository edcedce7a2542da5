// SPDX-License-Identifier: Apache-2.0
// int8 on tiles (../tile_run.inl has the loops): sums become bytes, four outputs together.

namespace paddle_unstructured::int8 {
namespace {

constexpr int kRowsAhead = 2;

// `Swish`: a hard-swish follows.
template <bool Swish>
class ByteTiles {
 public:
  explicit PU_INLINE ByteTiles(const Tile& tile)
      : tile_(tile),
        zero_(broadcast(tile.finish.zero)),
        added_scale_(broadcast(tile.finish.added_scale)),
        clamp_(clamp_of(tile.finish)) {}

  template <int To, int Weights, int Pixels>
  static PU_INLINE void multiply() {
    TileUnit::multiply<To, Weights, Pixels>();
  }

  struct Row {
    const int32_t* bias;
    const float* scale;
    uint8_t* output;
    const uint8_t* added;  // null: nothing
  };

  PU_INLINE Row row_at(int32_t row) const {
    const ptrdiff_t output = ptrdiff_t{row} * kTileOutputs, groups = output / kGroup * tile_.output_pitch;
    return {tile_.bias + output, tile_.finish.scale + output, tile_.output + groups,
            tile_.finish.added == nullptr ? nullptr : tile_.finish.added + groups};
  }

  PU_INLINE bool waits() const { return tile_.last; }

  PU_TILE_WORK void vector(const int32_t* sums, const Row& at, int v) const {
    uint8_t* to = at.output + v * kPixelRow;
    PU_UNROLL(4)
    for (int row = 0; row < kTileOutputs; row += kGroup, to += tile_.output_pitch) {
      IntVec made[kGroup];
      PU_UNROLL(4)
      for (int m = 0; m < kGroup; ++m) {
        const IntVec sum = load_aligned_ints(sums + (row + m) * kLanes) + broadcast_int(at.bias[row + m]);
        Vec zero = zero_;
        if (at.added != nullptr) {
          const ptrdiff_t group = row / kGroup * tile_.output_pitch;
          zero =
              fused(floats(byte_of_words(load_aligned_ints(at.added + group + v * kPixelRow), m)), added_scale_, zero_);
        }
        const Vec real = fused(floats(sum), broadcast(at.scale[row + m]), zero);
        made[m] = quantized(Swish ? hard_swished(real, tile_.finish) : real);
      }
      store_aligned_ints(to, clamped(interleaved(pair(made[0], made[1]), pair(made[2], made[3])), clamp_));
    }
  }

  // What the row after next will write and add: most of a large plane has left the cache, and a store waits as long for
  // its line as a load does. After the last row come the first ones of the next tile of pixels.
  template <int Vectors>
  PU_TILE_WORK void prefetch(const TileRows& rows, int32_t row) const {
    if (!tile_.last) return;
    const int32_t next = row + kRowsAhead;
    const bool same_tile = next < rows.last;
    const ptrdiff_t first = ptrdiff_t{same_tile ? next : most(rows.first, next - (rows.last - rows.first))} *
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
  template <int Vectors>
  PU_TILE_WORK void keep(const int32_t* sums, int32_t row, int v) const {
    const ptrdiff_t output = ptrdiff_t{row} * kTileOutputs;
    int32_t* to = tile_.sums + (output * Vectors + v) * kLanes;
    for (int m = 0; m < kTileOutputs; ++m, to += Vectors * kLanes)
      store_aligned_ints(to, load_aligned_ints(sums + m * kLanes) + broadcast_int(tile_.bias[output + m]));
  }

 private:
  const Tile tile_;
  const Vec zero_, added_scale_;
  const ByteClamp clamp_;
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
    TileRun<ByteTiles<Swish>, Vectors> made(rows, tile.panel, tile.panel_pitch, ByteTiles<Swish>(tile));
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
