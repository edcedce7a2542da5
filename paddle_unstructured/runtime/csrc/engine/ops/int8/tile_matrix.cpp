// SPDX-License-Identifier: Apache-2.0
#include "tile_matrix.h"

#include <algorithm>
#include <numeric>

namespace paddle_unstructured::int8 {
namespace {

constexpr int64_t kChunkWords = int64_t{kTileOutputs} * kTileDepth;
constexpr size_t kColumnsRead = 8 * kTileDepth;  // beyond the last chunk, by kernels that gather in advance

class TileMatrix : public Matrix {
 public:
  TileMatrix(const MatrixCuts& cuts, const KernelTable& kernels, const TileWords& words, bool dense, OutputTerms terms,
             WeightMemory& memory)
      : Matrix(cuts, kernels, std::move(terms)) {
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
      start_.push_back(start_.back() +
                       static_cast<int32_t>(round_up(static_cast<int64_t>(places.size()), kTileDepth)) / kTileDepth);
    }
    values_ = memory.take<int32_t>(start_.back() * kChunkWords);
    for (int32_t row = 0; row < words.rows(); ++row) fill_row(words, row, needed[static_cast<size_t>(row)]);
    if (!dense) fill_columns(needed);
  }

  void multiply_vector(int32_t slice, const uint8_t* input, int32_t* sums) const override {
    kernels().tiles->multiply_vector({rows_of(slice), input, terms().bias.data(), sums});
  }

 protected:
  void run(int32_t, int32_t slice, const Tile& tile) const override { kernels().tiles->multiply(rows_of(slice), tile); }

 private:
  TileRows rows_of(int32_t slice) const {
    return {start_.data(),
            slice_begin(slice) / kTileOutputs,
            slice_end(slice) / kTileOutputs,
            columns_.empty() ? nullptr : columns_.data(),
            values_,
            depth()};
  }

  void fill_row(const TileWords& words, int32_t row, const std::vector<int32_t>& places) {
    int32_t* const to = values_ + start_[static_cast<size_t>(row)] * kChunkWords;
    for (size_t i = 0; i < places.size(); ++i)
      for (int64_t m = 0; m < kTileOutputs; ++m)
        to[static_cast<int64_t>(i / kTileDepth) * kChunkWords + m * kTileDepth + static_cast<int64_t>(i % kTileDepth)] =
            words.at(int64_t{row} * kTileOutputs + m, places[i]);
  }

  // What fills up the last chunk of a row has no weights; it names a panel row that is there.
  void fill_columns(const std::vector<std::vector<int32_t>>& needed) {
    for (size_t row = 0; row < needed.size(); ++row) {
      for (const int32_t place : needed[row]) columns_.push_back(static_cast<uint16_t>(place));
      columns_.resize(static_cast<size_t>(start_[row + 1]) * kTileDepth);
    }
    columns_.resize(columns_.size() + kColumnsRead);
  }

  std::vector<int32_t> start_;
  std::vector<uint16_t> columns_;  // empty: dense
  int32_t* values_;
};

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

std::unique_ptr<Matrix> make_tile_matrix(const MatrixCuts& cuts, const KernelTable& kernels, const TileWords& words,
                                         bool dense, OutputTerms terms, WeightMemory& memory) {
  return std::make_unique<TileMatrix>(cuts, kernels, words, dense, std::move(terms), memory);
}

}  // namespace paddle_unstructured::int8
