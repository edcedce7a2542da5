// SPDX-License-Identifier: Apache-2.0
#include "paired_matrix.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "../../pairs.h"

namespace paddle_unstructured::f32 {
namespace {

struct Pair {
  Piece a, b;
  int32_t both;  // panel rows that both have an entry for

  std::array<int32_t, 3> counts() const { return {both, a.size() - both, b.size() - both}; }
};

// Which panel rows of a block each of some rows has a weight for: a bit each.
class Places {
 public:
  Places(const std::vector<Piece>& pieces, const std::vector<int32_t>& columns, int32_t begin, int32_t end)
      : words_(static_cast<size_t>(end - begin + 63) / 64),
        bits_(pieces.size() * words_) {
    for (size_t piece = 0; piece < pieces.size(); ++piece)
      for (int32_t entry = pieces[piece].first; entry < pieces[piece].last; ++entry) {
        const auto place = static_cast<size_t>(columns[static_cast<size_t>(entry)] - begin);
        bits_[piece * words_ + place / 64] |= uint64_t{1} << place % 64;
      }
  }

  int32_t shared(size_t a, size_t b) const {
    int32_t count = 0;
    for (size_t word = 0; word < words_; ++word)
      count += __builtin_popcountll(bits_[a * words_ + word] & bits_[b * words_ + word]);
    return count;
  }

 private:
  size_t words_;
  std::vector<uint64_t> bits_;
};

class PairedMatrix : public Matrix {
 public:
  PairedMatrix(const MatrixCuts& cuts, const SparseIndices& rows, const float* values, const float* bias)
      : Matrix(cuts, bias) {
    columns_.reserve(rows.columns.size());
    values_.reserve(rows.columns.size());
    const std::vector<int32_t> begins = rows.row_begins();
    for (int32_t block = 0; block < blocks(); ++block)
      for (int32_t slice = 0; slice < slices(); ++slice) add_part(rows, values, begins, block, slice);
  }

  void multiply_vector(const KernelTable& kernels, int32_t slice, const float* input, float* output) const override {
    for (int32_t block = 0; block < blocks(); ++block)
      kernels.paired_vector({rows_of(block, slice), input + block_begin(block), bias(), output, block == 0});
  }

 protected:
  void run(const KernelTable& kernels, int32_t block, int32_t slice, const Tile& tile) const override {
    kernels.paired(rows_of(block, slice), tile);
  }

 private:
  struct Part {
    std::vector<int32_t> row, counts;
    size_t first_column, first_value;
  };

  PairedRows rows_of(int32_t block, int32_t slice) const {
    const Part& part = parts_[static_cast<size_t>(block * slices() + slice)];
    return {part.row.data(), part.counts.data(), static_cast<int32_t>(part.row.size()),
            columns_.data() + part.first_column, values_.data() + part.first_value};
  }

  // Pairs of equal counts follow each other: the processor then foresees where the loops over entries end.
  void add_part(const SparseIndices& rows, const float* values, const std::vector<int32_t>& begins, int32_t block,
                int32_t slice) {
    parts_.push_back({{}, {}, columns_.size(), values_.size()});
    std::vector<Pair> pairs;
    std::vector<Piece> alone;
    for (int32_t row = slice_begin(slice); row < slice_end(slice); row += kPairedWithin) {
      const int32_t last = std::min(row + kPairedWithin, slice_end(slice));
      pair_up(rows, pieces_of(rows, begins, row, last, block_begin(block), block_end(block)), block, &pairs, &alone);
    }
    std::stable_sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) { return a.counts() < b.counts(); });
    const auto add_entry = [&](int32_t entry) {
      columns_.push_back(static_cast<uint16_t>(rows.columns[static_cast<size_t>(entry)] - block_begin(block)));
      values_.push_back(values[entry]);
    };
    Part& part = parts_.back();
    for (const Pair& pair : pairs) {
      part.row.insert(part.row.end(), {pair.a.row, pair.b.row});
      const std::array<int32_t, 3> counts = pair.counts();
      part.counts.insert(part.counts.end(), counts.begin(), counts.end());
      const PairedEntries entries = paired_entries(rows.columns, pair.a, pair.b);
      for (const auto& [entry, other] : entries.both) {
        add_entry(entry);
        values_.push_back(values[other]);
      }
      std::for_each(entries.first.begin(), entries.first.end(), add_entry);
      std::for_each(entries.second.begin(), entries.second.end(), add_entry);
    }
    for (const Piece& piece : alone) {  // the last row of all, where they are odd
      part.row.push_back(piece.row);
      part.counts.push_back(piece.size());
      for (int32_t entry = piece.first; entry < piece.last; ++entry) add_entry(entry);
    }
  }

  // Each row, in order, with that of the remaining ones that it shares most with.
  void pair_up(const SparseIndices& rows, const std::vector<Piece>& pieces, int32_t block, std::vector<Pair>* pairs,
               std::vector<Piece>* alone) const {
    const Places places(pieces, rows.columns, block_begin(block), block_end(block));
    std::vector<bool> taken(pieces.size(), false);
    for (size_t first = 0; first < pieces.size(); ++first) {
      if (taken[first]) continue;
      size_t best = first;
      int32_t most = -1;
      for (size_t other = first + 1; other < pieces.size(); ++other) {
        const int32_t shared = taken[other] ? -1 : places.shared(first, other);
        if (shared > most) {
          most = shared;
          best = other;
        }
      }
      taken[best] = true;
      if (best == first)
        alone->push_back(pieces[first]);
      else
        pairs->push_back({pieces[first], pieces[best], most});
    }
  }

  std::vector<Part> parts_;
  std::vector<uint16_t> columns_;
  std::vector<float> values_;
};

}  // namespace

std::unique_ptr<Matrix> make_paired_matrix(const MatrixCuts& cuts, const SparseIndices& rows, const float* values,
                                           const float* bias) {
  return std::make_unique<PairedMatrix>(cuts, rows, values, bias);
}

}  // namespace paddle_unstructured::f32
