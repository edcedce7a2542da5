// SPDX-License-Identifier: Apache-2.0
#include "matrix.h"

#include <algorithm>
#include <limits>

#include "paired_matrix.h"

namespace paddle_unstructured::f32 {
namespace {

bool are_paired(const KernelTable& kernels, const SparseIndices& rows, bool linear) {
  return kernels.paired_vectors > 0 && rows.block == 1 && !linear;
}

// Where a row has many entries, loads limit, and the panel must fit the first-level cache with room for the sums: wide
// and shallow. Where it has few, the loads and stores of the sums weigh more: deep blocks; the second-level cache then
// delivers fast enough, all the more where several outputs share an entry.
Tiling sparse_tiling(const KernelTable& kernels, const SparseIndices& rows, int32_t outputs, int32_t depth,
                     bool linear) {
  constexpr int32_t kPanel = 7 * 1024;  // floats
  const double entries = static_cast<double>(rows.columns.size());
  const double density = entries * rows.block / (static_cast<double>(outputs) * static_cast<double>(depth));
  if (linear) return {std::min(depth, kMostColumns), 1};
  const int32_t most =
      are_paired(kernels, rows, linear) ? kernels.paired_vectors : kernels.sparse_vectors[rows.kernel()];
  if (rows.block == 1 && density > 0.2) return {std::min(depth, kPanel / (most * kernels.lanes)), most};
  return {std::min(depth, rows.block == 1 ? 128 : 256), std::min(most, 64 / kernels.lanes), most};
}

class SparseMatrix : public Matrix {
 public:
  SparseMatrix(const MatrixCuts& cuts, const SparseIndices& rows, const float* values, const float* bias)
      : Matrix(cuts, bias),
        block_(rows.block),
        kernel_(rows.kernel()) {
    columns_.reserve(rows.columns.size());
    values_.reserve(rows.columns.size() * static_cast<size_t>(block_));
    const std::vector<int32_t> begins = rows.row_begins();
    parts_.resize(static_cast<size_t>(blocks()) * static_cast<size_t>(slices()));
    for (int32_t block = 0; block < blocks(); ++block)
      for (int32_t slice = 0; slice < slices(); ++slice) add_part(rows, values, begins, block, slice);
  }

  void multiply_vector(const KernelTable& kernels, int32_t slice, const float* input, float* output) const override {
    for (int32_t block = 0; block < blocks(); ++block)
      kernels.sparse_vector[kernel_]({rows_of(block, slice), input + block_begin(block), bias(), output, block == 0});
  }

 protected:
  void run(const KernelTable& kernels, int32_t block, int32_t slice, const Tile& tile) const override {
    kernels.sparse[kernel_](rows_of(block, slice), tile);
  }

 private:
  struct Part {
    std::vector<int32_t> start, row;
  };

  const Part& part(int32_t block, int32_t slice) const { return parts_[static_cast<size_t>(block * slices() + slice)]; }

  SparseRows rows_of(int32_t block, int32_t slice) const {
    const Part& found = part(block, slice);
    return {found.start.data(), found.row.data(), static_cast<int32_t>(found.row.size()), columns_.data(),
            values_.data()};
  }

  // Rows of equal length follow each other: the processor then foresees where the loop over entries ends.
  void add_part(const SparseIndices& rows, const float* values, const std::vector<int32_t>& begins, int32_t block,
                int32_t slice) {
    struct Piece {
      int32_t row, first, last;
    };
    std::vector<Piece> pieces;
    const auto column = rows.columns.begin();
    for (int32_t row = slice_begin(slice) / block_; row * block_ < slice_end(slice); ++row) {
      const auto first = column + begins[static_cast<size_t>(row)],
                 last = column + begins[static_cast<size_t>(row) + 1];
      const auto from = std::lower_bound(first, last, block_begin(block));
      const auto to = std::lower_bound(from, last, block_end(block));
      pieces.push_back({row, static_cast<int32_t>(from - column), static_cast<int32_t>(to - column)});
    }
    std::stable_sort(pieces.begin(), pieces.end(),
                     [](const Piece& a, const Piece& b) { return a.last - a.first < b.last - b.first; });
    Part& part = parts_[static_cast<size_t>(block * slices() + slice)];
    for (const Piece& piece : pieces) {
      part.start.push_back(static_cast<int32_t>(columns_.size()));
      part.row.push_back(piece.row);
      for (int32_t entry = piece.first; entry < piece.last; ++entry)
        columns_.push_back(static_cast<uint16_t>(column[entry] - block_begin(block)));
      values_.insert(values_.end(), values + static_cast<ptrdiff_t>(piece.first) * block_,
                     values + static_cast<ptrdiff_t>(piece.last) * block_);
    }
    part.start.push_back(static_cast<int32_t>(columns_.size()));
  }

  int32_t block_;
  size_t kernel_;
  std::vector<Part> parts_;
  std::vector<uint16_t> columns_;
  std::vector<float> values_;
};

class DenseMatrix : public Matrix {
 public:
  DenseMatrix(const MatrixCuts& cuts, const float* values, const float* bias)
      : Matrix(cuts, bias),
        values_(round_up(rows(), kGroup) * depth()) {
    for (int32_t row = 0; row < rows(); ++row)
      for (int32_t k = 0; k < depth(); ++k)
        group(row)[k * kGroup + row % kGroup] = values[static_cast<int64_t>(row) * depth() + k];
  }

  void multiply_vector(const KernelTable& kernels, int32_t slice, const float* input, float* output) const override {
    kernels.dense_vector({rows_of(0, depth(), slice), input, bias(), output});
  }

 protected:
  void run(const KernelTable& kernels, int32_t block, int32_t slice, const Tile& tile) const override {
    kernels.dense(rows_of(block_begin(block), block_end(block), slice), tile);
  }

 private:
  float* group(int32_t row) const { return values_.data() + static_cast<int64_t>(row / kGroup) * kGroup * depth(); }

  DenseRows rows_of(int32_t first, int32_t last, int32_t slice) const {
    return {values_.data() + static_cast<int64_t>(first) * kGroup, last - first, slice_begin(slice), slice_end(slice),
            static_cast<ptrdiff_t>(depth()) * kGroup};
  }

  AlignedArray<float> values_;
};

}  // namespace

Matrix::Matrix(const MatrixCuts& cuts, const float* bias) : MatrixCuts(cuts), bias_(round_up(cuts.rows(), kGroup)) {
  std::copy(bias, bias + cuts.rows(), bias_.data());
}

void Matrix::multiply(const KernelTable& kernels, int32_t block, int32_t slice, Tile tile) const {
  tile.bias = bias();
  tile.first = block == 0;
  tile.last = block + 1 == blocks();
  run(kernels, block, slice, tile);
}

std::unique_ptr<Matrix> load_matrix(const Node& node, const LoadContext& context, const ConvolutionSize& size) {
  const int64_t whole = int64_t{size.channels} * size.window.kernel[0] * size.window.kernel[1];
  if (whole > std::numeric_limits<int32_t>::max() / kGroup) node.refuse("has too many inputs");
  const auto depth = static_cast<int32_t>(whole);
  const int32_t slices = count_slices(size.outputs, context.threads);
  const Parameters& parameters = context.parameters;
  const KernelTable& kernels = context.kernels.f32;
  if (node.text("weights") == "dense") {
    const float* const values = parameters.floats(node, 0, size.outputs * whole);
    const Tiling tiling{std::min(depth, 128), kernels.dense_vectors};
    return std::make_unique<DenseMatrix>(MatrixCuts(size.outputs, depth, slices, kGroup, tiling), values,
                                         parameters.floats(node, 1, size.outputs));
  }
  if (node.text("weights") != "sparse") node.refuse("has unknown weights: " + node.text("weights"));
  const SparseIndices rows = load_indices(node, parameters, {1, 2, 4}, size.outputs, depth);
  const float* const values = parameters.floats(node, 0, static_cast<int64_t>(rows.columns.size()) * rows.block);
  const float* const bias = parameters.floats(node, 3, size.outputs);
  const Tiling tiling = sparse_tiling(kernels, rows, size.outputs, depth, size.linear);
  if (are_paired(kernels, rows, size.linear))
    return make_paired_matrix(MatrixCuts(size.outputs, depth, slices, kPairedWithin, tiling), rows, values, bias);
  return std::make_unique<SparseMatrix>(MatrixCuts(size.outputs, depth, slices, kGroup, tiling), rows, values, bias);
}

}  // namespace paddle_unstructured::f32
