// SPDX-License-Identifier: Apache-2.0
// Two sparse rows of single weights: the entries of both lie first, so that what they multiply is loaded once.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "matrix.h"

namespace paddle_unstructured {

// The entries of a row that lie in one block of the depth: [first, last).
struct Piece {
  int32_t row, first, last;

  int32_t size() const { return last - first; }
};

// Of rows [first_row, last_row), panel rows [begin, end); rows that are not there are empty.
std::vector<Piece> pieces_of(const SparseIndices& rows, const std::vector<int32_t>& begins, int32_t first_row,
                             int32_t last_row, int32_t begin, int32_t end);

// The entries of two rows by number, each kind in the order of its panel rows.
struct PairedEntries {
  std::vector<std::pair<int32_t, int32_t>> both;
  std::vector<int32_t> first, second;  // of one row alone
};

PairedEntries paired_entries(const std::vector<int32_t>& columns, const Piece& a, const Piece& b);

}  // namespace paddle_unstructured
