// SPDX-License-Identifier: Apache-2.0
#include "matrix.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>

namespace paddle_unstructured {

int32_t count_slices(int32_t outputs, int threads) {
  constexpr int32_t kSliceRows = 64;  // outputs that are worth a task of their own
  return threads == 1 ? 1 : std::max(1, std::min(2 * threads, outputs / kSliceRows));
}

std::vector<int32_t> SparseIndices::row_begins() const {
  std::vector<int32_t> begins(counts.size() + 1, 0);
  std::partial_sum(counts.begin(), counts.end(), begins.begin() + 1);
  return begins;
}

SparseIndices load_indices(const Node& node, const Parameters& parameters, const std::vector<int32_t>& blocks,
                           int32_t outputs, int64_t depth) {
  SparseIndices rows{node.integer("block", 1, blocks.back()), parameters.integers(node, 2),
                     parameters.integers(node, 1)};
  if (std::find(blocks.begin(), blocks.end(), rows.block) == blocks.end())
    node.refuse("has blocks of " + std::to_string(rows.block));
  if (rows.columns.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
    node.refuse("has too many weights");
  const auto expected = static_cast<size_t>((outputs + rows.block - 1) / rows.block);
  if (rows.counts.size() != expected) node.refuse("has counts for another number of outputs");
  size_t entry = 0;
  for (const int32_t count : rows.counts) {
    if (count < 0 || static_cast<size_t>(count) > rows.columns.size() - entry) node.refuse("has bad counts");
    for (int32_t i = 0, previous = -1; i < count; ++i, ++entry) {
      const int32_t column = rows.columns[entry];
      if (column <= previous || column >= depth) node.refuse("has a channel index out of range or order");
      previous = column;
    }
  }
  if (entry != rows.columns.size()) node.refuse("has bad counts");
  return rows;
}

}  // namespace paddle_unstructured
