// SPDX-License-Identifier: Apache-2.0
// Int8 weights as the kernels read them: checked and rearranged once, when the model is loaded.
#pragma once

#include <memory>

#include "../../quantization.h"
#include "../convolution.h"

namespace paddle_unstructured::int8 {

// A matrix [outputs, depth] of words of four weights, times panels of words of four bytes. Its rows are the outputs in
// whole groups.
class Matrix : public MatrixCuts {
 public:
  virtual ~Matrix() = default;

  const OutputTerms& terms() const { return terms_; }
  const KernelTable& kernels() const { return kernels_; }

  // One block of the depth for one slice of the outputs. `tile.bias`, `first` and `finish.scale` are filled in here.
  void multiply(int32_t block, int32_t slice, Tile tile) const;
  // The whole product for a single pixel: a sum for each output of the slice, at its own place.
  virtual void multiply_vector(int32_t slice, const uint8_t* input, int32_t* sums) const = 0;

 protected:
  Matrix(const MatrixCuts& cuts, const KernelTable& kernels, OutputTerms terms)
      : MatrixCuts(cuts),
        kernels_(kernels),
        terms_(std::move(terms)) {}
  virtual void run(int32_t block, int32_t slice, const Tile& tile) const = 0;

 private:
  const KernelTable& kernels_;
  OutputTerms terms_;
};

// What sums become.
struct SumsTo {
  const Quantization* output;  // null: float32
  bool real;                   // a hard-swish comes between
  bool fits;                   // whether what is added to the sums is far below 2^31, too
};

// Reads the words `weights`, `block` and `params` of the node; README.md has their shapes.
std::unique_ptr<Matrix> load_matrix(const Node& node, const LoadContext& context, const ConvolutionSize& size,
                                    const Quantization& input, const SumsTo& to);

}  // namespace paddle_unstructured::int8
