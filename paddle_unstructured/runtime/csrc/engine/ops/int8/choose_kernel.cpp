// SPDX-License-Identifier: Apache-2.0
#include "choose_kernel.h"

#include <algorithm>

namespace paddle_unstructured::int8 {
namespace {

// Nanoseconds for 16 outputs x 64 pixels: to begin and to make bytes, and for each panel row or chunk of 16 of them.
// Of 1x1 layers of 32 to 1024 inputs, one thread of an Intel Xeon with AMX (Sapphire Rapids, model 207); only the
// ratios matter. `python benchmarks/runtime.py ways` shows all ways beside the chosen one, which was the fastest or
// within 5 %.
constexpr double kBeginVectors = 49, kBeginTiles = 72;
constexpr double kVectorsDense = 13, kVectorsOf1 = 25, kVectorsOf2 = 20,
                 kVectorsOf4 = 17;  // outputs that share an entry
constexpr double kChunkInPlace = 86, kChunkGathered = 126;

double cost_of_vectors(const Stored& stored, int32_t rows) {
  const double each = !stored.sparse      ? kVectorsDense
                      : stored.block == 1 ? kVectorsOf1
                      : stored.block == 2 ? kVectorsOf2
                                          : kVectorsOf4;
  const double panel_rows = static_cast<double>(stored.entries) * stored.block / kTileOutputs;
  return kBeginVectors * rows + each * panel_rows;
}

double chunks(size_t panel_rows) { return static_cast<double>((panel_rows + kTileDepth - 1) / kTileDepth); }

}  // namespace

Way choose_way(const KernelTable& kernels, const TileWords& words, const Stored& stored) {
  if (kernels.only_tiles) return stored.sparse ? Way::kSparseTiles : Way::kDenseTiles;
  const int32_t rows = words.rows();
  double gathered = 0;
  for (int32_t row = 0; row < rows; ++row) gathered += chunks(words.needed(row).size());
  const double vectors = cost_of_vectors(stored, rows), begin = kBeginTiles * rows;
  const double dense = begin + kChunkInPlace * chunks(static_cast<size_t>(words.depth)) * rows;
  const double sparse = begin + kChunkGathered * gathered;
  if (vectors <= std::min(dense, sparse)) return Way::kVectors;
  return dense <= sparse ? Way::kDenseTiles : Way::kSparseTiles;
}

}  // namespace paddle_unstructured::int8
