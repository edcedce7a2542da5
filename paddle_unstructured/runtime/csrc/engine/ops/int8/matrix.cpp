// SPDX-License-Identifier: Apache-2.0
#include "matrix.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "../../pairs.h"
#include "../../processor.h"
#include "choose_kernel.h"
#include "tile_matrix.h"

namespace paddle_unstructured::int8 {
namespace {

constexpr int kPadding = 16;  // words behind the last one that a kernel may read

int32_t word_of(const int8_t* four) {
  int32_t word;
  std::memcpy(&word, four, sizeof word);
  return word;
}

// A word of an output's weights, whose lanes beyond the channels must be empty.
void check_word(const Node& node, const int8_t* four, int32_t lanes, size_t output, WeightSums* sums) {
  for (int32_t lane = 0; lane < kGroup; ++lane) {
    if (four[lane] == -128) node.refuse("has a weight of -128");
    if (lane >= lanes && four[lane] != 0) node.refuse("has a weight for a channel that is not there");
    sums->add(output, four[lane]);
  }
}

bool are_paired(const KernelTable& kernels, const SparseIndices& rows, bool linear) {
  return kernels.paired_vectors > 0 && rows.block == 1 && !linear;
}

// Depth of one block, and pixels of a tile: the panel stays near the size of the first-level cache. Deep layers are cut
// into equal blocks that leave room for the widest tile, so that its sums serve each weight that is loaded. Planes of
// few tiles get the widest one, too, if the cache holds three quarters of its panel: one of 128 groups is 2 % slower on
// 32 KB.
Tiling sparse_tiling(const KernelTable& kernels, const SparseIndices& rows, int32_t depth, bool linear) {
  constexpr int32_t kPanelBytes = 48 * 1024, kShallow = 128, kBlock = 96;
  if (linear) return {std::min(depth, kMostColumns), 1};
  const int32_t blocks = depth <= kShallow ? 1 : (depth + kBlock - 1) / kBlock, deep = (depth + blocks - 1) / blocks;
  const bool paired = are_paired(kernels, rows, linear);
  const int32_t most = paired ? kernels.paired_vectors : kernels.sparse_vectors[rows.kernel()];
  const int32_t vector_bytes = deep * kernels.lanes * kGroup;
  const int32_t fitting = std::max(1, std::min(kPanelBytes / vector_bytes, most));
  const bool holds = int64_t{most} * vector_bytes * 3 / 4 <= first_level_bytes();
  return {deep, fitting, holds ? most : fitting};
}

Tiling dense_tiling(const KernelTable& kernels, int32_t depth) { return {std::min(depth, 128), kernels.dense_vectors}; }

class SparseMatrix : public Matrix {
 public:
  SparseMatrix(const MatrixCuts& cuts, const KernelTable& kernels, const SparseIndices& rows, const int8_t* values,
               OutputTerms terms)
      : Matrix(cuts, kernels, std::move(terms)),
        block_(rows.block),
        kernel_(rows.kernel()) {
    columns_.reserve(rows.columns.size());
    values_.reserve(rows.columns.size() * static_cast<size_t>(block_) + kPadding);
    const std::vector<int32_t> begins = rows.row_begins();
    for (int32_t block = 0; block < blocks(); ++block) add_block(rows, values, begins, block);
    values_.resize(values_.size() + kPadding);
  }

  void multiply_vector(int32_t slice, const uint8_t* input, int32_t* sums) const override {
    for (int32_t block = 0; block < blocks(); ++block)
      kernels().sparse_vector[kernel_](
          {rows_of(block, slice), input + block_begin(block) * kGroup, terms().bias.data(), sums, block == 0});
  }

 protected:
  void run(int32_t block, int32_t slice, const Tile& tile) const override {
    kernels().sparse[kernel_](rows_of(block, slice), tile);
  }

 private:
  SparseRows rows_of(int32_t block, int32_t slice) const {
    const size_t first = static_cast<size_t>(block) * static_cast<size_t>(rows() / block_ + 1);
    return {start_.data() + first, slice_begin(slice) / block_, slice_end(slice) / block_, columns_.data(),
            values_.data()};
  }

  // The entries of all rows that lie in one block of the depth; rows that fill up the last group are empty.
  void add_block(const SparseIndices& rows, const int8_t* values, const std::vector<int32_t>& begins, int32_t block) {
    const auto column = rows.columns.begin();
    for (size_t row = 0; row < static_cast<size_t>(this->rows() / block_); ++row) {
      start_.push_back(static_cast<int32_t>(columns_.size()));
      if (row >= rows.counts.size()) continue;
      const auto first = column + begins[row], last = column + begins[row + 1];
      const auto from = std::lower_bound(first, last, block_begin(block));
      const auto to = std::lower_bound(from, last, block_end(block));
      for (auto entry = from; entry < to; ++entry) {
        columns_.push_back(static_cast<uint16_t>(*entry - block_begin(block)));
        for (int32_t m = 0; m < block_; ++m)
          values_.push_back(word_of(values + ((entry - column) * block_ + m) * kGroup));
      }
    }
    start_.push_back(static_cast<int32_t>(columns_.size()));
  }

  int32_t block_;
  size_t kernel_;
  std::vector<int32_t> start_;
  std::vector<uint16_t> columns_;
  std::vector<int32_t> values_;
};

// Single rows, two at a time.
class PairedMatrix : public Matrix {
 public:
  PairedMatrix(const MatrixCuts& cuts, const KernelTable& kernels, const SparseIndices& rows, const int8_t* values,
               OutputTerms terms)
      : Matrix(cuts, kernels, std::move(terms)) {
    columns_.reserve(rows.columns.size());
    values_.reserve(rows.columns.size() + kPadding);
    const std::vector<int32_t> begins = rows.row_begins();
    for (int32_t block = 0; block < blocks(); ++block) add_block(rows, values, begins, block);
    values_.resize(values_.size() + kPadding);
  }

  void multiply_vector(int32_t slice, const uint8_t* input, int32_t* sums) const override {
    for (int32_t block = 0; block < blocks(); ++block)
      kernels().paired_vector(
          {rows_of(block, slice), input + block_begin(block) * kGroup, terms().bias.data(), sums, block == 0});
  }

 protected:
  void run(int32_t block, int32_t slice, const Tile& tile) const override {
    kernels().paired(rows_of(block, slice), tile);
  }

 private:
  PairedRows rows_of(int32_t block, int32_t slice) const {
    const size_t first = static_cast<size_t>(block) * static_cast<size_t>(rows() / 2);
    return {start_.data() + first * 3 + static_cast<size_t>(block),
            word_.data() + first,
            slice_begin(slice) / 2,
            slice_end(slice) / 2,
            columns_.data(),
            values_.data()};
  }

  void add_block(const SparseIndices& rows, const int8_t* values, const std::vector<int32_t>& begins, int32_t block) {
    const std::vector<Piece> pieces = pieces_of(rows, begins, 0, this->rows(), block_begin(block), block_end(block));
    const auto add_word = [&](int32_t entry) { values_.push_back(word_of(values + ptrdiff_t{entry} * kGroup)); };
    const auto add_entry = [&](int32_t entry) {
      columns_.push_back(static_cast<uint16_t>(rows.columns[static_cast<size_t>(entry)] - block_begin(block)));
      add_word(entry);
    };
    const auto begin = [&] { start_.push_back(static_cast<int32_t>(columns_.size())); };
    for (size_t row = 0; row < pieces.size(); row += 2) {
      const PairedEntries entries = paired_entries(rows.columns, pieces[row], pieces[row + 1]);
      word_.push_back(static_cast<int32_t>(values_.size()));
      begin();
      for (const auto& [entry, other] : entries.both) {
        add_entry(entry);
        add_word(other);
      }
      begin();
      std::for_each(entries.first.begin(), entries.first.end(), add_entry);
      begin();
      std::for_each(entries.second.begin(), entries.second.end(), add_entry);
    }
    begin();
  }

  std::vector<int32_t> start_, word_;
  std::vector<uint16_t> columns_;
  std::vector<int32_t> values_;
};

class DenseMatrix : public Matrix {
 public:
  DenseMatrix(const MatrixCuts& cuts, const KernelTable& kernels, const int8_t* values, int32_t outputs,
              OutputTerms terms)
      : Matrix(cuts, kernels, std::move(terms)),
        values_(static_cast<size_t>(rows()) * static_cast<size_t>(depth()) + kPadding) {
    for (int64_t row = 0; row < outputs; ++row)
      for (int64_t k = 0; k < depth(); ++k)
        values_[static_cast<size_t>((row / kGroup * depth() + k) * kGroup + row % kGroup)] =
            word_of(values + (row * depth() + k) * kGroup);
  }

  void multiply_vector(int32_t slice, const uint8_t* input, int32_t* sums) const override {
    kernels().dense_vector({rows_of(0, depth(), slice), input, terms().bias.data(), sums});
  }

 protected:
  void run(int32_t block, int32_t slice, const Tile& tile) const override {
    kernels().dense(rows_of(block_begin(block), block_end(block), slice), tile);
  }

 private:
  DenseRows rows_of(int32_t first, int32_t last, int32_t slice) const {
    return {values_.data() + static_cast<ptrdiff_t>(first) * kGroup, last - first, slice_begin(slice), slice_end(slice),
            static_cast<ptrdiff_t>(depth()) * kGroup};
  }

  std::vector<int32_t> values_;
};

// Calls function(output, column, four weights) for each word that is stored, those beyond the last output included.
template <typename Function>
void for_each_word(const SparseIndices& rows, const int8_t* values, const Function& function) {
  const auto block = static_cast<size_t>(rows.block);
  size_t entry = 0;
  for (size_t row = 0; row < rows.counts.size(); ++row)
    for (int32_t i = 0; i < rows.counts[row]; ++i, ++entry)
      for (size_t m = 0; m < block; ++m)
        function(row * block + m, rows.columns[entry], values + (entry * block + m) * kGroup);
}

struct Stacked {
  SparseIndices rows;
  std::vector<int8_t> values;
};

// Blocks of more than four outputs as blocks of four, one below the other.
Stacked stack(const SparseIndices& rows, const int8_t* values) {
  const size_t high = static_cast<size_t>(rows.block), entry_bytes = high * kGroup, part_bytes = kGroup * kGroup;
  Stacked made{{kGroup, {}, {}}, {}};
  size_t first = 0;
  for (const int32_t count : rows.counts) {
    const auto end = first + static_cast<size_t>(count);
    for (size_t part = 0; part < entry_bytes; part += part_bytes) {
      made.rows.counts.push_back(count);
      for (size_t entry = first; entry < end; ++entry) {
        const int8_t* const from = values + entry * entry_bytes + part;
        made.rows.columns.push_back(rows.columns[entry]);
        made.values.insert(made.values.end(), from, from + part_bytes);
      }
    }
    first = end;
  }
  return made;
}

struct Loader {
  const Node& node;
  const LoadContext& context;
  const ConvolutionSize& size;
  const Quantization& input;
  const SumsTo& to;
  int32_t groups, depth;

  MatrixCuts cuts(const Tiling& tiling) const {
    const auto rows = static_cast<int32_t>(round_up(size.outputs, kGroup));
    return MatrixCuts(rows, depth, count_slices(size.outputs, context.threads), kVectorStep, tiling);
  }

  int32_t lanes(int32_t column) const {  // channels that are there
    return std::min(kGroup, size.channels - column % groups * kGroup);
  }

  OutputTerms terms(size_t slot, const WeightSums& sums) const {
    const float* const scale = context.parameters.floats(node, slot, size.outputs);
    const float* const bias = context.parameters.floats(node, slot + 1, size.outputs);
    return output_terms(node, size.outputs, scale, bias, sums, input, to.output, to.real);
  }

  std::unique_ptr<Matrix> on_vectors(const KernelTable& kernels, const SparseIndices& rows, const int8_t* values,
                                     OutputTerms made) const {
    const MatrixCuts cut = cuts(sparse_tiling(kernels, rows, depth, size.linear));
    if (are_paired(kernels, rows, size.linear))
      return std::make_unique<PairedMatrix>(cut, kernels, rows, values, std::move(made));
    return std::make_unique<SparseMatrix>(cut, kernels, rows, values, std::move(made));
  }

  std::unique_ptr<Matrix> on_tiles(const KernelTable& kernels, const TileWords& words, Way way,
                                   OutputTerms made) const {
    const MatrixCuts cut(words.rows() * kTileOutputs, depth, count_slices(size.outputs, context.threads), kTileOutputs,
                         tile_tiling(depth, way == Way::kDenseTiles));
    return make_tile_matrix(cut, kernels, words, way == Way::kDenseTiles, std::move(made), context.memory);
  }

  std::unique_ptr<Matrix> dense() const {
    const int8_t* const values = context.parameters.bytes(node, 0, int64_t{size.outputs} * depth * kGroup);
    WeightSums sums(size.outputs);
    for (int64_t row = 0; row < size.outputs; ++row)
      for (int32_t k = 0; k < depth; ++k)
        check_word(node, values + (row * depth + k) * kGroup, lanes(k), static_cast<size_t>(row), &sums);
    OutputTerms made = terms(1, sums);
    const KernelTable& kernels = kernels_for(context.kernels.int8, made.fits && to.fits);
    add_shift(&made, sums, kernels.shift);
    if (kernels.tiles != nullptr && !size.linear) {
      TileWords words(size.outputs, depth);
      for (int64_t row = 0; row < size.outputs; ++row)
        for (int64_t k = 0; k < depth; ++k) words.at(row, k) = word_of(values + (row * depth + k) * kGroup);
      const Way way = choose_way(kernels, words, {kGroup, int64_t{size.outputs} * depth / kGroup, false});
      if (way != Way::kVectors) return on_tiles(kernels, words, way, std::move(made));
    }
    return std::make_unique<DenseMatrix>(cuts(dense_tiling(kernels, depth)), kernels, values, size.outputs,
                                         std::move(made));
  }

  std::unique_ptr<Matrix> sparse() const {
    const SparseIndices rows = load_indices(node, context.parameters, {1, 2, 4, 16, 32}, size.outputs, depth);
    const auto block = static_cast<size_t>(rows.block);
    const int8_t* const values =
        context.parameters.bytes(node, 0, static_cast<int64_t>(rows.columns.size() * block) * kGroup);
    WeightSums sums(size.outputs);
    for_each_word(rows, values, [&](size_t output, int32_t column, const int8_t* four) {
      check_word(node, four, lanes(column), output, &sums);
    });
    OutputTerms made = terms(3, sums);
    const KernelTable& kernels = kernels_for(context.kernels.int8, made.fits && to.fits);
    add_shift(&made, sums, kernels.shift);
    if (kernels.tiles != nullptr && !size.linear) {
      TileWords words(size.outputs, depth);
      for_each_word(rows, values, [&](size_t output, int32_t column, const int8_t* four) {
        if (output < words.outputs()) words.at(static_cast<int64_t>(output), column) = word_of(four);
      });
      const Way way = choose_way(kernels, words, {rows.block, static_cast<int64_t>(rows.columns.size()), true});
      if (way != Way::kVectors) return on_tiles(kernels, words, way, std::move(made));
    }
    if (rows.block > kGroup) {
      const Stacked stacked = stack(rows, values);
      return on_vectors(kernels, stacked.rows, stacked.values.data(), std::move(made));
    }
    return on_vectors(kernels, rows, values, std::move(made));
  }
};

}  // namespace

void Matrix::multiply(int32_t block, int32_t slice, Tile tile) const {
  tile.bias = terms_.bias.data();
  tile.finish.scale = terms_.scale.data();
  tile.first = block == 0;
  run(block, slice, tile);
}

std::unique_ptr<Matrix> load_matrix(const Node& node, const LoadContext& context, const ConvolutionSize& size,
                                    const Quantization& input, const SumsTo& to) {
  const int64_t groups = round_up(size.channels, kGroup) / kGroup;
  const int64_t depth = groups * size.window.kernel[0] * size.window.kernel[1];
  if (depth > std::numeric_limits<int32_t>::max() / (kGroup * kGroup)) node.refuse("has too many inputs");
  const Loader loader{node, context, size, input, to, static_cast<int32_t>(groups), static_cast<int32_t>(depth)};
  if (node.text("weights") == "dense") return loader.dense();
  if (node.text("weights") == "sparse") return loader.sparse();
  node.refuse("has unknown weights: " + node.text("weights"));
}

}  // namespace paddle_unstructured::int8
