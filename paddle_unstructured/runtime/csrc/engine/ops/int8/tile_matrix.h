// SPDX-License-Identifier: Apache-2.0
// Weights for the kernels that multiply whole tiles: dense, or in chunks of the panel rows that 16 outputs share.
#pragma once

#include "matrix.h"

namespace paddle_unstructured::int8 {

// Words of four weights, [outputs in whole tiles][depth], zeros included.
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

// `dense`: all panel rows are multiplied, those without weights too.
std::unique_ptr<Matrix> make_tile_matrix(const MatrixCuts& cuts, const KernelTable& kernels, const TileWords& words,
                                         bool dense, OutputTerms terms, WeightMemory& memory);

}  // namespace paddle_unstructured::int8
