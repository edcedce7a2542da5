// SPDX-License-Identifier: Apache-2.0
#include "tile_words.h"

#include <limits>
#include <numeric>

#include "value.h"

namespace paddle_unstructured {
namespace {

constexpr int64_t kChunkWords = int64_t{kTileOutputs} * kTileDepth;
constexpr size_t kColumnsRead = 8 * kTileDepth;  // beyond the last chunk, by kernels that gather in advance
constexpr double kBegin = 72, kChunkInPlace = 86, kChunkGathered = 126;

size_t chunks(size_t panel_rows) { return (panel_rows + kTileDepth - 1) / kTileDepth; }

}  // namespace

std::vector<int32_t> TileWords::needed(int32_t row) const {
  std::vector<int32_t> places;
  for (int32_t k = 0; k < depth; ++k) {
    bool any = false;
    for (int64_t m = 0; m < kTileOutputs; ++m) any = any || at(int64_t{row} * kTileOutputs + m, k) != 0;
    if (any) places.push_back(k);
  }
  return places;
}

TileCosts tile_costs(const TileWords& words) {
  const int32_t rows = words.rows();
  size_t gathered = 0;
  for (int32_t row = 0; row < rows; ++row) gathered += chunks(words.needed(row).size());
  const double begin = kBegin * rows;
  const double dense = begin + kChunkInPlace * static_cast<double>(chunks(static_cast<size_t>(words.depth))) * rows;
  if (words.depth > kMostColumns) return {dense, std::numeric_limits<double>::infinity()};
  return {dense, begin + kChunkGathered * static_cast<double>(gathered)};
}

// 1x1 from 1024 inputs takes 0.85 of the time with two, 3x3 from 128 inputs 0.87 and from 64 inputs 0.95.
Tiling tile_tiling(int32_t depth, bool dense) {
  constexpr int64_t kStays = 32 * 1024, kMayStay = 40 * 1024, kVectorBytes = kTileDepth * kPixelBytes;
  const bool two = dense && depth * kTileVectors * kVectorBytes > kStays && depth * 2 * kVectorBytes <= kMayStay;
  return {depth, two ? 2 : kTileVectors};
}

TileChunks::TileChunks(const TileWords& words, bool dense, WeightMemory& memory) : depth_(words.depth) {
  std::vector<std::vector<int32_t>> needed(static_cast<size_t>(words.rows()));
  start_.push_back(0);
  for (int32_t row = 0; row < words.rows(); ++row) {
    std::vector<int32_t>& places = needed[static_cast<size_t>(row)];
    if (dense) {
      places.resize(static_cast<size_t>(words.depth));
      std::iota(places.begin(), places.end(), 0);
    } else {
      places = words.needed(row);
    }
    start_.push_back(start_.back() + static_cast<int32_t>(chunks(places.size())));
  }
  values_ = memory.take<int32_t>(start_.back() * kChunkWords);
  for (int32_t row = 0; row < words.rows(); ++row) fill_row(words, row, needed[static_cast<size_t>(row)]);
  if (!dense) fill_columns(needed);
}

void TileChunks::fill_row(const TileWords& words, int32_t row, const std::vector<int32_t>& places) {
  int32_t* const to = values_ + start_[static_cast<size_t>(row)] * kChunkWords;
  for (size_t i = 0; i < places.size(); ++i)
    for (int64_t m = 0; m < kTileOutputs; ++m)
      to[static_cast<int64_t>(i / kTileDepth) * kChunkWords + m * kTileDepth + static_cast<int64_t>(i % kTileDepth)] =
          words.at(int64_t{row} * kTileOutputs + m, places[i]);
}

// What fills up the last chunk of a row has no weights; it names a panel row that is there.
void TileChunks::fill_columns(const std::vector<std::vector<int32_t>>& needed) {
  for (size_t row = 0; row < needed.size(); ++row) {
    for (const int32_t place : needed[row]) columns_.push_back(static_cast<uint16_t>(place));
    columns_.resize(static_cast<size_t>(start_[row + 1]) * kTileDepth);
  }
  columns_.resize(columns_.size() + kColumnsRead);
}

}  // namespace paddle_unstructured
