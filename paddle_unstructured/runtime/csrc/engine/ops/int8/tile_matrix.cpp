// SPDX-License-Identifier: Apache-2.0
#include "tile_matrix.h"

namespace paddle_unstructured::int8 {
namespace {

class TileMatrix : public Matrix {
 public:
  TileMatrix(const MatrixCuts& cuts, const KernelTable& kernels, const TileWords& words, bool dense, OutputTerms terms,
             WeightMemory& memory)
      : Matrix(cuts, kernels, std::move(terms)),
        chunks_(words, dense, memory) {}

  void multiply_vector(int32_t slice, const uint8_t* input, int32_t* sums) const override {
    kernels().tiles->multiply_vector({rows_of(slice), input, terms().bias.data(), sums});
  }

 protected:
  void run(int32_t, int32_t slice, const Tile& tile) const override { kernels().tiles->multiply(rows_of(slice), tile); }

 private:
  TileRows rows_of(int32_t slice) const { return chunks_.rows(slice_begin(slice), slice_end(slice)); }

  TileChunks chunks_;
};

}  // namespace

std::unique_ptr<Matrix> make_tile_matrix(const MatrixCuts& cuts, const KernelTable& kernels, const TileWords& words,
                                         bool dense, OutputTerms terms, WeightMemory& memory) {
  return std::make_unique<TileMatrix>(cuts, kernels, words, dense, std::move(terms), memory);
}

}  // namespace paddle_unstructured::int8
