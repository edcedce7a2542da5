// SPDX-License-Identifier: Apache-2.0
#include "choose_kernel.h"

#include <algorithm>
#include <cmath>

namespace paddle_unstructured::int8 {
namespace {

// Nanoseconds for 16 outputs x 64 pixels: to begin and to make bytes, and for each panel row or chunk of 16 of them.
// Of 1x1 layers of 32 to 1024 inputs, one thread of an Intel Xeon with AMX (Sapphire Rapids, model 207); only the
// ratios matter. `python benchmarks/runtime.py ways` shows all ways beside the chosen one, which was the fastest or
// within 5 %.
// ../../tile_words.cpp has those of tiles. kVectorsOf1 is of 256 and 512 inputs at 1 to 14 positions each way, where
// 1x4 blocks on vectors are as fast as dense tiles at about 83 % zeros.
constexpr double kBeginVectors = 49;
constexpr double kVectorsDense = 13, kVectorsOf1 = 30, kVectorsOf2 = 20,
                 kVectorsOf4 = 17;  // outputs that share an entry

double cost_of_vectors(const Stored& stored, int32_t rows) {
  const double each = !stored.sparse      ? kVectorsDense
                      : stored.block == 1 ? kVectorsOf1
                      : stored.block == 2 ? kVectorsOf2
                                          : kVectorsOf4;
  const double panel_rows = static_cast<double>(stored.entries) * stored.block / kTileOutputs;
  return kBeginVectors * rows + each * panel_rows;
}

}  // namespace

Way choose_way(const KernelTable& kernels, const TileWords& words, const Stored& stored) {
  const TileCosts tiles = tile_costs(words);
  if (kernels.only_tiles) return stored.sparse && std::isfinite(tiles.sparse) ? Way::kSparseTiles : Way::kDenseTiles;
  const double vectors = cost_of_vectors(stored, words.rows());
  if (vectors <= std::min(tiles.dense, tiles.sparse)) return Way::kVectors;
  return tiles.dense <= tiles.sparse ? Way::kDenseTiles : Way::kSparseTiles;
}

}  // namespace paddle_unstructured::int8
