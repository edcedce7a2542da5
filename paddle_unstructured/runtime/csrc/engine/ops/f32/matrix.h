// SPDX-License-Identifier: Apache-2.0
// Float32 weights as the kernels read them: checked and rearranged once, when the model is loaded.
#pragma once

#include <memory>

#include "../../memory.h"
#include "../convolution.h"

namespace paddle_unstructured::f32 {

// A matrix [outputs, depth] times panels of pixels.
class Matrix : public MatrixCuts {
 public:
  virtual ~Matrix() = default;

  // One block of the depth for one slice of the outputs; `tile.bias`, `first` and `last` are filled in here.
  void multiply(const KernelTable& kernels, int32_t block, int32_t slice, Tile tile) const;
  // The whole product for a single pixel; `input` has `depth` values.
  virtual void multiply_vector(const KernelTable& kernels, int32_t slice, const float* input, float* output) const = 0;

 protected:
  Matrix(const MatrixCuts& cuts, const float* bias);
  virtual void run(const KernelTable& kernels, int32_t block, int32_t slice, const Tile& tile) const = 0;
  const float* bias() const { return bias_.data(); }

 private:
  AlignedArray<float> bias_;  // zeros up to a whole group of rows
};

// Reads the words `weights`, `block` and `params` of the node.
//   dense:  params = values [outputs, depth], bias [outputs]
//   sparse: params = values [entries, block], columns [entries], counts [ceil(outputs / block)], bias [outputs]
std::unique_ptr<Matrix> load_matrix(const Node& node, const LoadContext& context, const ConvolutionSize& size);

}  // namespace paddle_unstructured::f32
