// Weights of bytes as the kernels read them: checked and rearranged once, when the model is loaded.
#pragma once

#include <memory>
#include <vector>

#include "operation.h"
#include "quantization8.h"
#include "weights.h"
#include "window.h"

namespace paddle_unstructured {

// A matrix [outputs, depth] of words of four weights, times panels of words of four bytes.
class Matrix8 {
 public:
  virtual ~Matrix8() = default;

  int32_t depth() const { return depth_; }
  const Tiling& tiling() const { return tiling_; }
  int32_t blocks() const { return (depth_ + tiling_.depth - 1) / tiling_.depth; }
  int32_t block_begin(int32_t block) const { return block * tiling_.depth; }
  int32_t block_end(int32_t block) const { return std::min(depth_, block_begin(block + 1)); }
  int32_t slices() const { return slices_; }
  int32_t slice_begin(int32_t slice) const;  // outputs, in whole groups; a slice begins on a whole vector of them
  int32_t slice_end(int32_t slice) const { return slice_begin(slice + 1); }
  const OutputTerms& terms() const { return terms_; }
  const KernelTable8& kernels() const { return kernels_; }

  // One block of the depth for one slice of the outputs. `tile.bias`, `first` and `finish.scale` are filled in here.
  void multiply(int32_t block, int32_t slice, Tile8 tile) const;
  // The whole product for a single pixel: a sum for each output of the slice, at its own place.
  virtual void multiply_vector(int32_t slice, const uint8_t* input, int32_t* sums) const = 0;

 protected:
  Matrix8(const KernelTable8& kernels, int32_t outputs, int32_t depth, int32_t slices, Tiling tiling, OutputTerms terms)
      : kernels_(kernels), rows_(static_cast<int32_t>(round_up(outputs, kGroup))), depth_(depth), slices_(slices),
        tiling_(tiling), terms_(std::move(terms)) {}
  virtual void run(int32_t block, int32_t slice, const Tile8& tile) const = 0;
  int32_t rows() const { return rows_; }

 private:
  const KernelTable8& kernels_;
  int32_t rows_, depth_, slices_;
  Tiling tiling_;
  OutputTerms terms_;
};

struct MatrixSize8 {
  int32_t outputs, channels;
  WindowSize window;
  bool vector;  // the product will see single pixels only
};

// Reads the words `weights`, `block` and `params` of the node; README.md has their shapes. `output`: null for floats.
std::unique_ptr<Matrix8> load_matrix8(const Node& node, const LoadContext& context, const MatrixSize8& size,
                                      const Quantization& input, const Quantization* output);

}  // namespace paddle_unstructured
