// Weights as the kernels read them: checked and rearranged once, when the model is loaded.
#pragma once

#include <memory>
#include <vector>

#include "parameters.h"
#include "plan.h"

namespace paddle_unstructured {

// Floats on 64 bytes, filled with zeros.
class AlignedFloats {
 public:
  AlignedFloats() = default;
  explicit AlignedFloats(int64_t count);
  float* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(float* data) const;
  };
  std::unique_ptr<float[], Free> data_;
};

// The places of the entries of compressed rows of blocks of `block` outputs, as stored and checked.
struct SparseIndices {
  int32_t block;
  std::vector<int32_t> counts;   // entries of each row
  std::vector<int32_t> columns;  // ascending within a row
};

// The word `block`, and of the word `params` columns [entries] and counts [ceil(outputs / block)].
SparseIndices load_indices(const Node& node, const Parameters& parameters, int32_t outputs, int64_t depth);

// How the panel of a matrix product is cut: depth into blocks, pixels into tiles.
struct Tiling {
  int32_t depth;           // panel rows of one block, at most
  int32_t vectors;         // of one tile, at most
  int32_t most = vectors;  // where there are few: one tile less is worth more than a panel that fits the cache

  int64_t tiles(int64_t all) const {
    const int32_t each = all >= 8 * vectors ? vectors : most;
    return (all + each - 1) / each;
  }
};

// A matrix [outputs, depth] times panels of pixels.
class Matrix {
 public:
  virtual ~Matrix() = default;

  int32_t outputs() const { return outputs_; }
  int32_t depth() const { return depth_; }
  const Tiling& tiling() const { return tiling_; }
  int32_t blocks() const { return (depth_ + tiling_.depth - 1) / tiling_.depth; }
  int32_t block_begin(int32_t block) const { return block * tiling_.depth; }
  int32_t block_end(int32_t block) const;
  int32_t slices() const { return slices_; }
  int32_t slice_begin(int32_t slice) const;  // outputs
  int32_t slice_end(int32_t slice) const { return slice_begin(slice + 1); }

  // One block of the depth for one slice of the outputs; `tile.bias`, `first` and `last` are filled in here.
  virtual void multiply(const KernelTable& kernels, int32_t block, int32_t slice, Tile tile) const = 0;
  // The whole product for a single pixel; `input` has `depth` values.
  virtual void multiply_vector(const KernelTable& kernels, int32_t slice, const float* input, float* output) const = 0;

 protected:
  Matrix(int32_t outputs, int32_t depth, int32_t slices, Tiling tiling, const float* bias);
  const float* bias() const { return bias_.data(); }

 private:
  int32_t outputs_, depth_, slices_;
  Tiling tiling_;
  AlignedFloats bias_;  // zeros up to a whole group of rows
};

// Reads the words `weights`, `block` and `params` of the node.
//   dense:  params = values [outputs, depth], bias [outputs]
//   sparse: params = values [entries, block], columns [entries], counts [ceil(outputs / block)], bias [outputs]
// `vector`: the product will see single pixels only.
std::unique_ptr<Matrix> load_matrix(const Node& node, const Parameters& parameters, int32_t outputs, int64_t depth,
                                    const KernelTable& kernels, int threads, bool vector);

}  // namespace paddle_unstructured
