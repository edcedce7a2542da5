#include "weights.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <numeric>

#include "shape.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace paddle_unstructured {
namespace {

constexpr int32_t kSliceRows = 64;  // outputs that are worth a task of their own

int32_t count_slices(int32_t outputs, int threads) {
  return threads == 1 ? 1 : std::max(1, std::min(2 * threads, outputs / kSliceRows));
}

int block_index(int32_t block) { return block == 1 ? 0 : block == 2 ? 1 : 2; }

struct Compressed : SparseIndices {
  const float* values;  // [entries, block]
};

Compressed check_compressed(const Node& node, const Parameters& parameters, int32_t outputs, int64_t depth) {
  Compressed rows{load_indices(node, parameters, outputs, depth), nullptr};
  rows.values = parameters.floats(node, 0, static_cast<int64_t>(rows.columns.size()) * rows.block);
  return rows;
}

// Where a row has many entries, loads limit, and the panel must fit the first-level cache with room for the sums: wide
// and shallow. Where it has few, the loads and stores of the sums weigh more: deep blocks; the second-level cache then
// delivers fast enough, all the more where several outputs share an entry.
Tiling sparse_tiling(const KernelTable& kernels, int32_t block, double density, int64_t depth, bool vector) {
  constexpr int32_t kMostColumns = 65536;  // what 16 bits can count
  constexpr int32_t kPanel = 7 * 1024;     // floats
  const auto rows = [depth](int32_t most) { return static_cast<int32_t>(std::min<int64_t>(depth, most)); };
  if (vector) return {rows(kMostColumns), 1};
  const int32_t most = kernels.sparse_vectors[block_index(block)];
  if (block == 1 && density > 0.2) return {rows(kPanel / (most * kernels.lanes)), most};
  return {rows(block == 1 ? 128 : 256), std::min(most, 64 / kernels.lanes), most};
}

class SparseMatrix : public Matrix {
 public:
  SparseMatrix(const Compressed& rows, int32_t outputs, int32_t depth, int32_t slices, Tiling tiling, const float* bias)
      : Matrix(outputs, depth, slices, tiling, bias), block_(rows.block) {
    columns_.reserve(rows.columns.size());
    values_.reserve(rows.columns.size() * static_cast<size_t>(block_));
    const std::vector<int32_t> begin = row_begins(rows);
    parts_.resize(static_cast<size_t>(blocks()) * static_cast<size_t>(slices));
    for (int32_t block = 0; block < blocks(); ++block)
      for (int32_t slice = 0; slice < slices; ++slice) add_part(rows, begin, block, slice);
  }

  void multiply(const KernelTable& kernels, int32_t block, int32_t slice, Tile tile) const override {
    tile.bias = bias();
    tile.first = block == 0;
    tile.last = block + 1 == blocks();
    kernels.sparse[block_index(block_)](rows_of(block, slice), tile);
  }

  void multiply_vector(const KernelTable& kernels, int32_t slice, const float* input, float* output) const override {
    for (int32_t block = 0; block < blocks(); ++block)
      kernels.sparse_vector[block_index(block_)](
          {rows_of(block, slice), input + block_begin(block), bias(), output, block == 0});
  }

 private:
  struct Part {
    std::vector<int32_t> start, row;
  };

  static std::vector<int32_t> row_begins(const Compressed& rows) {
    std::vector<int32_t> begin(rows.counts.size() + 1, 0);
    std::partial_sum(rows.counts.begin(), rows.counts.end(), begin.begin() + 1);
    return begin;
  }

  const Part& part(int32_t block, int32_t slice) const {
    return parts_[static_cast<size_t>(block * slices() + slice)];
  }

  SparseRows rows_of(int32_t block, int32_t slice) const {
    const Part& found = part(block, slice);
    return {found.start.data(), found.row.data(), static_cast<int32_t>(found.row.size()), columns_.data(),
            values_.data()};
  }

  // Rows of equal length follow each other: the processor then foresees where the loop over entries ends.
  void add_part(const Compressed& rows, const std::vector<int32_t>& begin, int32_t block, int32_t slice) {
    struct Piece {
      int32_t row, first, last;
    };
    std::vector<Piece> pieces;
    const auto column = rows.columns.begin();
    for (int32_t row = slice_begin(slice) / block_; row * block_ < slice_end(slice); ++row) {
      const auto first = column + begin[static_cast<size_t>(row)], last = column + begin[static_cast<size_t>(row) + 1];
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
      values_.insert(values_.end(), rows.values + static_cast<ptrdiff_t>(piece.first) * block_,
                     rows.values + static_cast<ptrdiff_t>(piece.last) * block_);
    }
    part.start.push_back(static_cast<int32_t>(columns_.size()));
  }

  int32_t block_;
  std::vector<Part> parts_;
  std::vector<uint16_t> columns_;
  std::vector<float> values_;
};

class DenseMatrix : public Matrix {
 public:
  DenseMatrix(const float* values, int32_t outputs, int32_t depth, int32_t slices, Tiling tiling, const float* bias)
      : Matrix(outputs, depth, slices, tiling, bias), values_(round_up(outputs, kDenseRows) * depth) {
    for (int32_t row = 0; row < outputs; ++row)
      for (int32_t k = 0; k < depth; ++k)
        group(row)[k * kDenseRows + row % kDenseRows] = values[static_cast<int64_t>(row) * depth + k];
  }

  void multiply(const KernelTable& kernels, int32_t block, int32_t slice, Tile tile) const override {
    tile.bias = bias();
    tile.first = block == 0;
    tile.last = block + 1 == blocks();
    kernels.dense(rows_of(block_begin(block), block_end(block), slice), tile);
  }

  void multiply_vector(const KernelTable& kernels, int32_t slice, const float* input, float* output) const override {
    kernels.dense_vector({rows_of(0, depth(), slice), input, bias(), output});
  }

 private:
  float* group(int32_t row) const {
    return values_.data() + static_cast<int64_t>(row / kDenseRows) * kDenseRows * depth();
  }

  DenseRows rows_of(int32_t first, int32_t last, int32_t slice) const {
    return {values_.data() + static_cast<int64_t>(first) * kDenseRows, last - first, slice_begin(slice),
            slice_end(slice), static_cast<ptrdiff_t>(depth()) * kDenseRows};
  }

  AlignedFloats values_;
};

}  // namespace

SparseIndices load_indices(const Node& node, const Parameters& parameters, int32_t outputs, int64_t depth) {
  SparseIndices rows{node.integer("block", 1, 4), parameters.integers(node, 2), parameters.integers(node, 1)};
  if (rows.block == 3) node.refuse("has blocks of 3");
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

// Large pieces ask for large pages: a tile reads a few floats of each of many planes, every one on a page of its own.
AlignedFloats::AlignedFloats(int64_t count) {
  constexpr size_t kLargePage = size_t{1} << 21;
  size_t bytes = static_cast<size_t>(round_up(std::max<int64_t>(count, 1), kPlaneAlign)) * sizeof(float);
  const bool large = bytes >= kLargePage;
  if (large) bytes = (bytes + kLargePage - 1) / kLargePage * kLargePage;
  data_.reset(static_cast<float*>(std::aligned_alloc(large ? kLargePage : 64, bytes)));
  if (data_ == nullptr) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
  if (large) madvise(data_.get(), bytes, MADV_HUGEPAGE);  // a wish; nothing depends on it
#endif
  std::memset(data_.get(), 0, bytes);
}

void AlignedFloats::Free::operator()(float* data) const { std::free(data); }

Matrix::Matrix(int32_t outputs, int32_t depth, int32_t slices, Tiling tiling, const float* bias)
    : outputs_(outputs), depth_(depth), slices_(slices), tiling_(tiling), bias_(round_up(outputs, kDenseRows)) {
  std::copy(bias, bias + outputs, bias_.data());
}

int32_t Matrix::block_end(int32_t block) const { return std::min(depth_, block_begin(block + 1)); }

int32_t Matrix::slice_begin(int32_t slice) const {
  const int32_t groups = (outputs_ + kDenseRows - 1) / kDenseRows;
  return std::min<int32_t>(outputs_, static_cast<int32_t>(int64_t{groups} * slice / slices_) * kDenseRows);
}

std::unique_ptr<Matrix> load_matrix(const Node& node, const Parameters& parameters, int32_t outputs, int64_t depth,
                                    const KernelTable& kernels, int threads, bool vector) {
  if (depth > std::numeric_limits<int32_t>::max() / kDenseRows) node.refuse("has too many inputs");
  const auto rows = static_cast<int32_t>(depth);
  const int32_t slices = count_slices(outputs, threads);
  if (node.text("weights") == "dense") {
    const float* const values = parameters.floats(node, 0, outputs * depth);
    const Tiling tiling{std::min(rows, 128), kernels.dense_vectors};
    return std::make_unique<DenseMatrix>(values, outputs, rows, slices, tiling, parameters.floats(node, 1, outputs));
  }
  if (node.text("weights") != "sparse") node.refuse("has unknown weights: " + node.text("weights"));
  const Compressed compressed = check_compressed(node, parameters, outputs, depth);
  const double entries = static_cast<double>(compressed.columns.size());
  const double density = entries * compressed.block / (static_cast<double>(outputs) * static_cast<double>(depth));
  const Tiling tiling = sparse_tiling(kernels, compressed.block, density, depth, vector);
  return std::make_unique<SparseMatrix>(compressed, outputs, rows, slices, tiling, parameters.floats(node, 3, outputs));
}

}  // namespace paddle_unstructured
