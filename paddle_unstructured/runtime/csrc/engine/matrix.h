// SPDX-License-Identifier: Apache-2.0
// What matrices of weights of every number format share: how a product is cut, and the indices of sparse rows.
// kernels/f32/multiply.inl draws block, slice and tile.
#pragma once

#include <algorithm>
#include <vector>

#include "parameters.h"
#include "plan.h"

namespace paddle_unstructured {

// How the panel of a matrix product is cut: depth into blocks, pixels into tiles.
struct Tiling {
  int32_t depth;           // panel rows of one block, at most
  int32_t vectors;         // of one tile, at most
  int32_t most = vectors;  // where there are few: one tile less is worth more than a panel that fits the cache

  int64_t tiles(int64_t all) const {
    const int32_t each = all >= 8 * vectors ? vectors : most;
    return (all + each - 1) / each;
  }
};

// The cuts of a matrix [rows, depth].
class MatrixCuts {
 public:
  // `step`: a slice begins on a multiple of it.
  MatrixCuts(int32_t rows, int32_t depth, int32_t slices, int32_t step, Tiling tiling)
      : rows_(rows),
        depth_(depth),
        slices_(slices),
        step_(step),
        tiling_(tiling) {}

  int32_t rows() const { return rows_; }
  int32_t depth() const { return depth_; }
  const Tiling& tiling() const { return tiling_; }
  int32_t blocks() const { return (depth_ + tiling_.depth - 1) / tiling_.depth; }
  int32_t block_begin(int32_t block) const { return block * tiling_.depth; }
  int32_t block_end(int32_t block) const { return std::min(depth_, block_begin(block + 1)); }
  int32_t slices() const { return slices_; }
  int32_t slice_begin(int32_t slice) const {
    const int32_t steps = (rows_ + step_ - 1) / step_;
    return std::min(rows_, static_cast<int32_t>(int64_t{steps} * slice / slices_) * step_);
  }
  int32_t slice_end(int32_t slice) const { return slice_begin(slice + 1); }

 private:
  int32_t rows_, depth_, slices_, step_;
  Tiling tiling_;
};

// Into how many slices the outputs of a layer are cut for some threads.
int32_t count_slices(int32_t outputs, int threads);

constexpr int32_t kMostColumns = 65536;  // panel rows that 16 bits can count

// The places of the entries of sparse rows of blocks of `block` outputs, as stored and checked.
struct SparseIndices {
  int32_t block;                 // outputs that share an entry
  std::vector<int32_t> counts;   // entries of each row
  std::vector<int32_t> columns;  // ascending within a row

  // Where the kernels for this block, 1, 2 or 4, stand in their table.
  size_t kernel() const { return block == 1 ? 0 : block == 2 ? 1 : 2; }
  // Entry at which each row begins, and one past the last.
  std::vector<int32_t> row_begins() const;
};

// The word `block`, one of `blocks`, and of the word `params` columns [entries] and counts [ceil(outputs / block)].
SparseIndices load_indices(const Node& node, const Parameters& parameters, const std::vector<int32_t>& blocks,
                           int32_t outputs, int64_t depth);

}  // namespace paddle_unstructured
