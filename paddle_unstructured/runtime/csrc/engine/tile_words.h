// SPDX-License-Identifier: Apache-2.0
// Weights for the kernels that multiply whole tiles (../kernels/tiles.h): dense, or in chunks of the panel rows that 16
// outputs share.
#pragma once

#include <cstdint>
#include <vector>

#include "../kernels/tiles.h"
#include "matrix.h"
#include "memory.h"

namespace paddle_unstructured {

// Words of weights, [outputs in whole tiles][depth], zeros included.
struct TileWords {
  int32_t depth;
  std::vector<int32_t> words;

  TileWords(int32_t outputs, int32_t depth)
      : depth(depth),
        words(static_cast<size_t>(round_up(outputs, kTileOutputs)) * static_cast<size_t>(depth)) {}
  int32_t rows() const { return static_cast<int32_t>(words.size() / static_cast<size_t>(depth)) / kTileOutputs; }
  size_t outputs() const { return static_cast<size_t>(rows()) * kTileOutputs; }
  int32_t& at(int64_t output, int64_t k) { return words[static_cast<size_t>(output * depth + k)]; }
  int32_t at(int64_t output, int64_t k) const { return words[static_cast<size_t>(output * depth + k)]; }
  // Panel rows that any of the 16 outputs of a row needs, ascending.
  std::vector<int32_t> needed(int32_t row) const;
};

// Nanoseconds for 64 pixels, to be compared with each other only; ops/int8/choose_kernel.cpp says where they are from.
struct TileCosts {
  double dense, sparse;
};
TileCosts tile_costs(const TileWords& words);

// How the panel of such a matrix is cut: its whole depth, and kTileVectors vectors at once; or two, if only so many
// stay in the first-level cache, from which two dense rows at a time read them.
Tiling tile_tiling(int32_t depth, bool dense);

// The same as the kernels read them.
class TileChunks {
 public:
  // `dense`: all panel rows are multiplied, those without weights too.
  TileChunks(const TileWords& words, bool dense, WeightMemory& memory);

  // Rows of outputs [first, last), both multiples of kTileOutputs.
  TileRows rows(int32_t first, int32_t last) const {
    const uint16_t* const columns = columns_.empty() ? nullptr : columns_.data();
    return {start_.data(), first / kTileOutputs, last / kTileOutputs, columns, values_, depth_};
  }

 private:
  void fill_row(const TileWords& words, int32_t row, const std::vector<int32_t>& places);
  void fill_columns(const std::vector<std::vector<int32_t>>& needed);

  int32_t depth_;
  std::vector<int32_t> start_;
  std::vector<uint16_t> columns_;  // empty: dense
  int32_t* values_ = nullptr;
};

}  // namespace paddle_unstructured
