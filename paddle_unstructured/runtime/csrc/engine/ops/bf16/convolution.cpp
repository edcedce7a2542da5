// SPDX-License-Identifier: Apache-2.0
// Convolutions on bfloat16: pack a panel of words, multiply it by the tiles of weights. Every processor takes the same
// way through them, so that all make the same bits.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "../../error.h"
#include "../../tile_words.h"
#include "../convolution.h"
#include "../word_panels.h"
#include "number.h"

namespace paddle_unstructured::bf16 {
namespace {

constexpr int32_t kPair = 2, kBlock = kTileOutputs;

// A word of an output's weights, whose channels have to be there.
int32_t checked_word(const Node& node, const uint16_t* two, int32_t channels) {
  if (channels < kPair && (two[1] & 0x7fff) != 0) node.refuse("has a weight for a channel that is not there");
  uint32_t word = 0;
  for (int i = 0; i < kPair; ++i) {
    const float weight = flushed(widened(two[i]));
    if (!std::isfinite(weight)) node.refuse("has a weight that is not finite");
    if (weight != 0) word |= uint32_t{rounded(weight)} << 16 * i;  // no zero has a sign: a word of zeros is 0
  }
  return static_cast<int32_t>(word);
}

// The matrix, cut as int8's is for tiles.
struct Matrix {
  MatrixCuts cuts;
  TileChunks chunks;
  AlignedArray<float> bias;

  Matrix(const MatrixCuts& cuts, const TileWords& words, bool dense, const float* from, int32_t outputs,
         WeightMemory& memory)
      : cuts(cuts),
        chunks(words, dense, memory),
        bias(cuts.rows()) {
    std::transform(from, from + outputs, bias.data(), flushed);
  }
};

std::unique_ptr<Matrix> load_matrix(const Node& node, const LoadContext& context, const ConvolutionSize& size) {
  const int64_t pairs = (int64_t{size.channels} + 1) / kPair;
  const int64_t whole = pairs * size.window.kernel[0] * size.window.kernel[1];
  if (whole > std::numeric_limits<int32_t>::max() / (kBlock * kPair)) node.refuse("has too many inputs");
  const auto depth = static_cast<int32_t>(whole);
  const auto channels = [&](int64_t k) { return static_cast<int32_t>(size.channels - k % pairs * kPair); };
  const Parameters& parameters = context.parameters;
  TileWords words(size.outputs, depth);
  size_t bias = 1;
  if (node.text("weights") == "dense") {
    const uint16_t* const values = parameters.halves(node, 0, size.outputs * whole * kPair);
    for (int64_t row = 0; row < size.outputs; ++row)
      for (int64_t k = 0; k < depth; ++k)
        words.at(row, k) = checked_word(node, values + (row * depth + k) * kPair, channels(k));
  } else if (node.text("weights") == "sparse") {
    const SparseIndices rows = load_indices(node, parameters, {kBlock}, size.outputs, depth);
    const auto entries = static_cast<int64_t>(rows.columns.size());
    const uint16_t* value = parameters.halves(node, 0, entries * kBlock * kPair);
    size_t entry = 0;
    for (size_t row = 0; row < rows.counts.size(); ++row)
      for (int32_t i = 0; i < rows.counts[row]; ++i, ++entry)
        for (int32_t m = 0; m < kBlock; ++m, value += kPair)
          words.at(static_cast<int64_t>(row) * kBlock + m, rows.columns[entry]) =
              checked_word(node, value, channels(rows.columns[entry]));
    bias = 3;
  } else {
    node.refuse("has unknown weights: " + node.text("weights"));
  }
  const TileCosts costs = tile_costs(words);
  const bool dense = costs.dense <= costs.sparse;
  const MatrixCuts cuts(words.rows() * kTileOutputs, depth, count_slices(size.outputs, context.threads), kTileOutputs,
                        tile_tiling(depth, dense));
  return std::make_unique<Matrix>(cuts, words, dense, parameters.floats(node, bias, size.outputs), size.outputs,
                                  context.memory);
}

// To bfloat16; or to float32, where the node says `to=float`.
class Convolution : public Operation {
 public:
  explicit Convolution(const Node& node) : size_(node), activation_(node.activation()) {
    if (node.has("step")) node.refuse("moves along bfloat16 channels");
    if (node.has("to") && node.text("to") != "float") node.refuse("has an unknown result: " + node.text("to"));
    output_ = {node.has("to") ? Type::kFloat32 : Type::kBfloat16, {}};
    if (!is_real() && !activation_.is_clamp()) node.refuse("has an activation that bfloat16 results cannot have");
  }

  // Where there are two inputs, the second is added to what the first becomes.
  Format accept(const Node& node, const std::vector<Format>& inputs) override {
    if (inputs.size() > 2) node.refuse("reads another number of values than its kind does");
    return output_;
  }

  int overwrites() const override { return 1; }  // what is added

  void load(const Node& node, const LoadContext& context) override { matrix_ = load_matrix(node, context, size_); }

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    const Shape made = size_.output_shape(inputs[0]);
    return inputs.size() == 1 ? made : shape_of_sum({made, inputs[1]});
  }

  // The panel, and behind it the split input of all workers; of a single pixel the column, the results and what is
  // added, a vector wide.
  int64_t scratch_bytes(const std::vector<Shape>& inputs) const override {
    const Shape made = size_.output_shape(inputs[0]);
    if (output_shape(inputs).pixels() == 1)
      return (cuts().depth() + 2 * cuts().rows() + kGuard) * kPlaneAlign * kPixelBytes;
    return (panel_words() + kGuard + split_words(size_.window, inputs[0], inputs[0].pairs(), made) + kGuard) *
           kPixelBytes;
  }

  void run(const Context& context) const override {
    if (context.output.shape.pixels() == 1) return run_single_pixel(context);
    uint8_t* const room = context.scratch<uint8_t>(0) + (panel_words() + kGuard) * kPixelBytes;
    const WordSource source =
        word_source(context, size_.window, context.inputs[0].shape.pairs(), context.kernels.bf16.split, room);
    share_tiles(context, cuts(), context.kernels.bf16.lanes, [&](const TilePart& part, int worker) {
      run_part(context, source, context.scratch<uint8_t>(worker), part);
    });
  }

 private:
  const MatrixCuts& cuts() const { return matrix_->cuts; }
  bool is_real() const { return output_.type == Type::kFloat32; }
  // One vector more than the panel, which the last run of pixels may spill into.
  int64_t panel_words() const { return int64_t{cuts().depth()} * kTileVectors * kPlaneAlign + kPlaneAlign; }

  Tile tile() const {
    Tile made{};
    made.bias = matrix_->bias.data();
    made.low = activation_.is_clamp() ? flushed(activation_.a) : -INFINITY;
    made.high = activation_.is_clamp() ? flushed(activation_.b) : INFINITY;
    made.outputs = size_.outputs;
    made.real = is_real();
    return made;
  }

  void run_part(const Context& context, const WordSource& source, uint8_t* panel, const TilePart& part) const {
    const Value& input = context.inputs[0];
    const KernelTable& kernels = context.kernels.bf16;
    Tile made = tile();
    made.vectors = part.vectors;
    made.output = static_cast<uint8_t*>(context.output.data) + part.to * kPixelBytes;
    made.output_pitch = static_cast<ptrdiff_t>(context.output.group_pitch());
    if (context.inputs.size() > 1) {
      made.added = context.inputs[1].bytes() + part.to * kPixelBytes;
      made.added_pitch = static_cast<ptrdiff_t>(context.inputs[1].group_pitch());
    }
    if (size_.reads_in_place(cuts(), input.shape)) {
      made.panel = input.bytes() + part.pixel * kPixelBytes;
      made.panel_pitch = static_cast<ptrdiff_t>(input.group_pitch());
    } else {
      kernels.pack({source.planes, source.window, static_cast<int32_t>(input.shape.pairs()), 0, cuts().depth(),
                    part.pixel, part.vectors, panel, 0, source.split});
      made.panel = panel;
      made.panel_pitch = static_cast<ptrdiff_t>(part.vectors) * kernels.lanes * kPixelBytes;
    }
    for (int32_t slice = part.first_slice; slice < part.last_slice; ++slice)
      kernels.multiply(matrix_->chunks.rows(cuts().slice_begin(slice), cuts().slice_end(slice)), made);
    if (!activation_.is_clamp()) activate_rows(context, made, part);
  }

  void activate_rows(const Context& context, const Tile& made, const TilePart& part) const {
    const int32_t last = std::min(size_.outputs, cuts().slice_end(part.last_slice - 1));
    const int64_t count = int64_t{made.vectors} * context.kernels.bf16.lanes;
    for (int32_t row = cuts().slice_begin(part.first_slice); row < last; ++row) {
      auto* const values = reinterpret_cast<float*>(made.output + row * made.output_pitch);
      context.kernels.f32.activate(activation_, values, values, count);
    }
  }

  // As one vector of which a single lane counts: not fast, and rare.
  void run_single_pixel(const Context& context) const {
    const KernelTable& kernels = context.kernels.bf16;
    const int64_t pitch = kPlaneAlign * kPixelBytes, results = is_real() ? cuts().rows() : cuts().rows() / kPair;
    auto* const panel = context.scratch<uint8_t>(0);
    uint8_t* const output = panel + cuts().depth() * pitch;
    uint8_t* const added = output + cuts().rows() * pitch;
    fill_column(context.inputs[0], panel, pitch);
    Tile made = tile();
    made.panel = panel;
    made.panel_pitch = made.output_pitch = made.added_pitch = pitch;
    made.vectors = 1;
    made.output = output;
    if (context.inputs.size() > 1) {
      made.added = added;
      spread(context.inputs[1].bytes(), context.inputs[1].shape.pairs(), added, pitch);
    }
    context.share(cuts().slices(), [&](int64_t slice, int) {
      const auto which = static_cast<int32_t>(slice);
      kernels.multiply(matrix_->chunks.rows(cuts().slice_begin(which), cuts().slice_end(which)), made);
    });
    for (int64_t i = 0; i < std::min(results, is_real() ? size_.outputs : context.output.shape.pairs()); ++i)
      std::memcpy(static_cast<uint8_t*>(context.output.data) + i * kPixelBytes, output + i * pitch, kPixelBytes);
    if (!activation_.is_clamp())
      context.kernels.f32.activate(activation_, context.output.floats(), context.output.floats(), size_.outputs);
  }

  static void spread(const uint8_t* from, int64_t count, uint8_t* to, int64_t pitch) {
    for (int64_t i = 0; i < count; ++i) std::memcpy(to + i * pitch, from + i * kPixelBytes, kPixelBytes);
  }

  void fill_column(const Value& input, uint8_t* to, int64_t pitch) const {
    const WindowSize& window = size_.window;
    for (int32_t ky = 0; ky < window.kernel[0]; ++ky)
      for (int32_t kx = 0; kx < window.kernel[1]; ++kx) {
        const int64_t pixel = window.pixel_under(ky, kx, input.shape);
        for (int64_t pair = 0; pair < input.shape.pairs(); ++pair, to += pitch) {
          std::memset(to, 0, static_cast<size_t>(pitch));
          if (pixel >= 0) std::memcpy(to, input.group(pair) + pixel * kPixelBytes, kPixelBytes);
        }
      }
  }

  ConvolutionSize size_;
  Activation activation_;
  Format output_;
  std::unique_ptr<Matrix> matrix_;
};

}  // namespace

std::unique_ptr<Operation> make_convolution(const Node& node) { return std::make_unique<Convolution>(node); }

}  // namespace paddle_unstructured::bf16
