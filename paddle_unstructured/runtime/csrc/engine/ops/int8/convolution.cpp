// SPDX-License-Identifier: Apache-2.0
// Convolutions and linear layers on int8: pack a panel of pixels, multiply it by the matrix of weights, block by block.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "../sliding.h"
#include "../word_panels.h"
#include "matrix.h"
#include "operation.h"

namespace paddle_unstructured::int8 {
namespace {

// To int8; or to float32, where the node says `to=float`.
class Convolution : public Operation {
 public:
  explicit Convolution(const Node& node) : size_(node), activation_(node.activation()) {
    if (node.has("to") && node.text("to") != "float") node.refuse("has an unknown result: " + node.text("to"));
    if (!node.has("to")) output_ = int8_format(read_quantization(node));
    finish_ = output_.is_int8() ? byte_finish(node, output_.quantization) : ByteFinish{byte_range(node, {})};
  }

  // Where there are two inputs, the second is added to what the first becomes.
  Format accept(const Node& node, const std::vector<Format>& inputs) override {
    if (inputs.size() > 2) node.refuse("reads another number of values than its kind does");
    input_ = inputs[0].quantization;
    zero_ = swishes() ? 0 : static_cast<float>(output_.quantization.zero);
    if (inputs.size() == 2) add(node, inputs[1].quantization);
    return output_;
  }

  int overwrites() const override { return 1; }  // what is added

  void load(const Node& node, const LoadContext& context) override {
    matrix_ = load_matrix(node, context, size_, input_,
                          {output_.is_int8() ? &output_.quantization : nullptr, swishes(), added_fits_});
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    const Shape made = size_.output_shape(inputs[0]);
    return inputs.size() == 1 ? made : shape_of_sum({made, inputs[1]});
  }

  // The panel, or the single pixel's column; behind it the sums, and behind these the split input of all workers.
  int64_t scratch_bytes(const std::vector<Shape>& inputs) const override {
    const Shape made = size_.output_shape(inputs[0]);
    if (output_shape(inputs).pixels() == 1) return (column_words() + round_up(matrix_->rows(), kVectorStep)) * kGroup;
    const int64_t phases = split_words(size_.window, inputs[0], inputs[0].groups(), made);
    return (panel_words() + sums_words() + kGuard + phases + kGuard) * kGroup;
  }

  void run(const Context& context) const override {
    if (context.output.shape.pixels() == 1) return run_single_pixel(context);
    uint8_t* const room = context.scratch<uint8_t>(0) + (panel_words() + sums_words() + kGuard) * kGroup;
    const WordSource source =
        word_source(context, size_.window, context.inputs[0].shape.groups(), matrix_->kernels().split, room);
    share_tiles(context, *matrix_, matrix_->kernels().lanes, [&](const TilePart& part, int worker) {
      run_part(context, source, context.scratch<uint8_t>(worker), part);
    });
  }

 private:
  int64_t sums_words() const { return matrix_->rows() * int64_t{matrix_->tiling().most} * kPlaneAlign; }

  // One vector more than the panel, which the last run of pixels may spill into.
  int64_t panel_words() const {
    return int64_t{matrix_->tiling().depth} * matrix_->tiling().most * kPlaneAlign + kPlaneAlign;
  }

  int64_t column_words() const { return round_up(matrix_->depth(), kPlaneAlign) + kPlaneAlign; }

  void add(const Node& node, const Quantization& added) {
    if (!output_.is_int8()) node.refuse("adds to float32");
    const double scale = output_.quantization.scale, unit = swishes() ? 1 : scale;
    added_scale_ = checked_factor(node, added.scale / unit);
    zero_ = checked_factor(node, double{zero_} - added.zero * double{added_scale_});
    added_fits_ = (255.0 * added_scale_ + std::fabs(double{zero_})) * unit / scale < kMostNumber;
  }

  bool swishes() const { return finish_.swish != 0; }

  // For the output's bytes from `first` on.
  Requantization finish(const Context& context, ptrdiff_t first) const {
    const uint8_t* const added = context.inputs.size() == 1 ? nullptr : context.inputs[1].bytes() + first;
    const auto swish_zero = static_cast<float>(output_.quantization.zero);
    return {nullptr, zero_, finish_.range.low, finish_.range.high, added, added_scale_, finish_.swish, swish_zero};
  }

  void run_part(const Context& context, const WordSource& source, uint8_t* scratch, const TilePart& part) const {
    Tile tile{};
    tile.sums = reinterpret_cast<int32_t*>(scratch + panel_words() * kGroup);
    if (output_.is_int8()) tile.output = context.output.bytes() + part.to * kGroup;
    tile.output_pitch = static_cast<ptrdiff_t>(context.output.group_pitch());
    tile.vectors = part.vectors;
    tile.finish = finish(context, part.to * kGroup);
    for (int32_t block = 0; block < matrix_->blocks(); ++block) {
      tile.last = output_.is_int8() && block + 1 == matrix_->blocks();
      make_panel(context, source, scratch, block, part.pixel, &tile);
      for (int32_t slice = part.first_slice; slice < part.last_slice; ++slice) matrix_->multiply(block, slice, tile);
    }
    if (!output_.is_int8()) store_real(context, tile, part);
  }

  void make_panel(const Context& context, const WordSource& source, uint8_t* panel, int32_t block, int64_t pixel,
                  Tile* tile) const {
    const Value& input = context.inputs[0];
    if (matrix_->kernels().shift == 0 && size_.reads_in_place(*matrix_, input.shape)) {
      tile->panel = input.bytes() + pixel * kGroup;
      tile->panel_pitch = static_cast<ptrdiff_t>(input.group_pitch());
      return;
    }
    const KernelTable& kernels = matrix_->kernels();
    kernels.pack({source.planes, source.window, static_cast<int32_t>(input.shape.groups()), matrix_->block_begin(block),
                  matrix_->block_end(block), pixel, tile->vectors, panel, static_cast<uint8_t>(input_.zero),
                  source.split});
    tile->panel = panel;
    tile->panel_pitch = static_cast<ptrdiff_t>(tile->vectors) * kernels.lanes * kGroup;
  }

  void store_real(const Context& context, const Tile& tile, const TilePart& part) const {
    const int64_t count = int64_t{tile.vectors} * matrix_->kernels().lanes;
    const int32_t last = std::min(size_.outputs, matrix_->slice_end(part.last_slice - 1));
    for (int32_t row = matrix_->slice_begin(part.first_slice); row < last; ++row)
      matrix_->kernels().real_row(tile.sums + row * count, matrix_->terms().scale[static_cast<size_t>(row)],
                                  activation_.a, activation_.b, context.output.channel(row) + part.to, count);
  }

  void run_single_pixel(const Context& context) const {
    const uint8_t* const input = single_pixel_input(context);
    context.share(matrix_->slices(), [&](int64_t task, int worker) {
      const auto slice = static_cast<int32_t>(task);
      const int32_t first = matrix_->slice_begin(slice);
      const int64_t count = std::min(size_.outputs, matrix_->slice_end(slice)) - first;
      int32_t* const sums = context.scratch<int32_t>(worker) + column_words();
      matrix_->multiply_vector(slice, input, sums);
      Requantization to_bytes = finish(context, first);
      to_bytes.scale = matrix_->terms().scale.data() + first;
      if (output_.is_int8())
        matrix_->kernels().requantize(sums + first, to_bytes, context.output.bytes() + first, count);
      else
        matrix_->kernels().real_vector(sums + first, to_bytes.scale, activation_.a, activation_.b,
                                       context.output.floats() + first, count);
    });
  }

  // The one column of the panel; worker 0's scratch is free until tasks are shared out.
  const uint8_t* single_pixel_input(const Context& context) const {
    const Value& input = context.inputs[0];
    const WindowSize& window = size_.window;
    if (input.shape.pixels() == 1 && window.is_single_pixel() && !window.is_padded()) return input.bytes();
    auto* to = context.scratch<uint8_t>(0);
    for (int32_t ky = 0; ky < window.kernel[0]; ++ky)
      for (int32_t kx = 0; kx < window.kernel[1]; ++kx) {
        const int64_t pixel = window.pixel_under(ky, kx, input.shape);
        for (int64_t group = 0; group < input.shape.groups(); ++group, to += kGroup) {
          if (pixel >= 0)
            std::memcpy(to, input.group(group) + pixel * kGroup, kGroup);
          else
            std::memset(to, input_.zero, kGroup);
        }
      }
    return context.scratch<uint8_t>(0);
  }

  ConvolutionSize size_;
  Activation activation_;
  ByteFinish finish_;
  Quantization input_;
  Format output_;
  float zero_ = 0, added_scale_ = 0;
  bool added_fits_ = true;
  std::unique_ptr<Matrix> matrix_;
};

}  // namespace

std::unique_ptr<Operation> make_convolution(const Node& node) { return convolution_of<Convolution>(node); }

}  // namespace paddle_unstructured::int8
