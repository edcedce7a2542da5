// SPDX-License-Identifier: Apache-2.0
#include "pairs.h"

#include <algorithm>

namespace paddle_unstructured {

std::vector<Piece> pieces_of(const SparseIndices& rows, const std::vector<int32_t>& begins, int32_t first_row,
                             int32_t last_row, int32_t begin, int32_t end) {
  std::vector<Piece> pieces;
  const auto column = rows.columns.begin();
  for (int32_t row = first_row; row < last_row; ++row) {
    if (row >= static_cast<int32_t>(rows.counts.size())) {
      pieces.push_back({row, 0, 0});
      continue;
    }
    const auto last = column + begins[static_cast<size_t>(row) + 1];
    const auto from = std::lower_bound(column + begins[static_cast<size_t>(row)], last, begin);
    const auto to = std::lower_bound(from, last, end);
    pieces.push_back({row, static_cast<int32_t>(from - column), static_cast<int32_t>(to - column)});
  }
  return pieces;
}

PairedEntries paired_entries(const std::vector<int32_t>& columns, const Piece& a, const Piece& b) {
  PairedEntries made;
  const auto column = [&](int32_t entry) { return columns[static_cast<size_t>(entry)]; };
  int32_t other = b.first;
  for (int32_t entry = a.first; entry < a.last; ++entry) {
    for (; other < b.last && column(other) < column(entry); ++other) made.second.push_back(other);
    if (other < b.last && column(other) == column(entry))
      made.both.emplace_back(entry, other++);
    else
      made.first.push_back(entry);
  }
  for (; other < b.last; ++other) made.second.push_back(other);
  return made;
}

}  // namespace paddle_unstructured
