// Convolutions and linear layers on bytes: pack a panel of pixels, multiply it by the matrix of weights.

#include <algorithm>
#include <cstring>

#include "error.h"
#include "operation8.h"
#include "weights8.h"

namespace paddle_unstructured {
namespace {

class Convolution8 : public Operation {
 public:
  explicit Convolution8(const Node& node)
      : size_{node.integer("out", 1, kLargest), node.integer("in", 1, kLargest), WindowSize(node), node.has("linear")},
        activation_(node.activation()) {
    if (node.has("to") && node.text("to") != "float") node.refuse("has an unknown result: " + node.text("to"));
    if (!node.has("to")) output_ = read_quantization(node);
    range_ = byte_range(node, output_);
  }

  Quantization accept(const Node& node, const std::vector<Quantization>& inputs) override {
    require_bytes(node, inputs);
    input_ = inputs[0];
    return output_;
  }

  void load(const Node& node, const LoadContext& context) override {
    matrix_ = load_matrix8(node, context, size_, input_, output_.bytes ? &output_ : nullptr);
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    const Shape& input = inputs[0];
    require(may_equal(input.channels, size_.channels), "a layer with ", size_.channels, " input channels got ",
            input.channels, "; give an input of the size that the model was made for");
    return {size_.outputs, size_.window.output_height(input.height), size_.window.output_width(input.width)};
  }

  int64_t scratch_floats(const std::vector<Shape>& inputs) const override {
    if (output_shape(inputs).pixels() == 1) return vector_floats() + round_up(size_.outputs, kVectorStep);
    return panel_floats() + round_up(size_.outputs, kGroup) * matrix_->tiling().vectors * kPlaneAlign;
  }

  void run(const Context& context) const override {
    if (context.output.shape.pixels() == 1) return run_single_pixel(context);
    const Window window = size_.window.bind(context.inputs[0], context.output.shape);
    const int32_t lanes = matrix_->kernels().lanes;
    const int64_t vectors = context.output.pitch() / lanes, most = matrix_->tiling().vectors;
    const int64_t tiles = (vectors + most - 1) / most;
    const int32_t slices = matrix_->slices();
    context.share_tiles(tiles, slices, [&](int64_t tile, int32_t first_slice, int32_t last_slice, int worker) {
      const int64_t first = vectors * tile / tiles, last = vectors * (tile + 1) / tiles;
      run_tile(context, window, context.scratch[static_cast<size_t>(worker)],
               {first * lanes, static_cast<int32_t>(last - first), first_slice, last_slice});
    });
  }

 private:
  struct Part {
    int64_t pixel;
    int32_t vectors, first_slice, last_slice;
  };

  // One vector more than the panel, which the last run of pixels may spill into.
  int64_t panel_floats() const {
    return int64_t{matrix_->tiling().depth} * matrix_->tiling().vectors * kPlaneAlign + kPlaneAlign;
  }

  int64_t vector_floats() const { return round_up(matrix_->depth(), kPlaneAlign) + kPlaneAlign; }

  Requantization finish() const { return {nullptr, static_cast<float>(output_.zero), range_.low, range_.high}; }

  // A 1x1 convolution of a single block may read the input where it lies.
  bool reads_in_place(const Window& w) const {
    const int32_t* const pad = size_.window.pad;
    return matrix_->blocks() == 1 && size_.window.is_single_pixel() && w.stride_height == 1 && w.stride_width == 1 &&
           w.pitch > 1 && std::all_of(pad, pad + 4, [](int32_t p) { return p == 0; });
  }

  void run_tile(const Context& context, const Window& window, float* scratch, const Part& part) const {
    Tile8 tile{};
    tile.sums = reinterpret_cast<int32_t*>(scratch + panel_floats());
    tile.output = bytes_of(context.output) + part.pixel * kGroup;
    tile.output_pitch = static_cast<ptrdiff_t>(context.output.pitch() * kGroup);
    tile.vectors = part.vectors;
    tile.finish = finish();
    for (int32_t block = 0; block < matrix_->blocks(); ++block) {
      tile.last = output_.bytes && block + 1 == matrix_->blocks();
      make_panel(context, window, reinterpret_cast<uint8_t*>(scratch), block, part.pixel, &tile);
      for (int32_t slice = part.first_slice; slice < part.last_slice; ++slice)
        matrix_->multiply(block, slice, tile);
    }
    if (!output_.bytes) store_real(context, tile, part);
  }

  void make_panel(const Context& context, const Window& window, uint8_t* panel, int32_t block, int64_t pixel,
                  Tile8* tile) const {
    if (reads_in_place(window)) {
      tile->panel = bytes_of(context.inputs[0]) + pixel * kGroup;
      tile->panel_pitch = window.pitch * kGroup;
      return;
    }
    const auto groups = static_cast<int32_t>(groups_of(size_.channels));
    matrix_->kernels().pack({window, groups, matrix_->block_begin(block), matrix_->block_end(block), pixel,
                             tile->vectors, panel, static_cast<uint8_t>(input_.zero)});
    tile->panel = panel;
    tile->panel_pitch = static_cast<ptrdiff_t>(tile->vectors) * matrix_->kernels().lanes * kGroup;
  }

  void store_real(const Context& context, const Tile8& tile, const Part& part) const {
    const int64_t count = int64_t{tile.vectors} * matrix_->kernels().lanes;
    const int32_t last = std::min(size_.outputs, matrix_->slice_end(part.last_slice - 1));
    for (int32_t row = matrix_->slice_begin(part.first_slice); row < last; ++row)
      matrix_->kernels().real_row(tile.sums + row * count, matrix_->terms().scale[static_cast<size_t>(row)],
                                activation_.a, activation_.b, context.output.plane(row) + part.pixel, count);
  }

  void run_single_pixel(const Context& context) const {
    const uint8_t* const input = single_pixel_input(context);
    context.share(matrix_->slices(), [&](int64_t task, int worker) {
      const auto slice = static_cast<int32_t>(task);
      const int32_t first = matrix_->slice_begin(slice);
      const int64_t count = std::min(size_.outputs, matrix_->slice_end(slice)) - first;
      auto* const sums = reinterpret_cast<int32_t*>(context.scratch[static_cast<size_t>(worker)] + vector_floats());
      matrix_->multiply_vector(slice, input, sums);
      Requantization to_bytes = finish();
      to_bytes.scale = matrix_->terms().scale.data() + first;
      if (output_.bytes)
        matrix_->kernels().requantize(sums + first, to_bytes, bytes_of(context.output) + first, count);
      else
        matrix_->kernels().real_vector(sums + first, to_bytes.scale, activation_.a, activation_.b,
                                     context.output.data + first, count);
    });
  }

  // The one column of the panel; worker 0's scratch is free until tasks are shared out.
  const uint8_t* single_pixel_input(const Context& context) const {
    const Activations& input = context.inputs[0];
    const WindowSize& w = size_.window;
    const bool padded = std::any_of(w.pad, w.pad + 4, [](int32_t pad) { return pad != 0; });
    if (input.shape.pixels() == 1 && w.is_single_pixel() && !padded) return bytes_of(input);
    auto* to = reinterpret_cast<uint8_t*>(context.scratch[0]);
    for (int32_t ky = 0; ky < w.kernel[0]; ++ky)
      for (int32_t kx = 0; kx < w.kernel[1]; ++kx) {
        const int64_t y = int64_t{ky} * w.dilation[0] - w.pad[0], x = int64_t{kx} * w.dilation[1] - w.pad[2];
        const bool inside = y >= 0 && y < input.shape.height && x >= 0 && x < input.shape.width;
        for (int64_t group = 0; group < groups_of(size_.channels); ++group, to += kGroup) {
          if (inside) std::memcpy(to, group_of(input, group) + (y * input.shape.width + x) * kGroup, kGroup);
          else std::memset(to, input_.zero, kGroup);
        }
      }
    return reinterpret_cast<uint8_t*>(context.scratch[0]);
  }

  MatrixSize8 size_;
  Activation activation_;
  ByteRange range_{};
  Quantization input_, output_;
  std::unique_ptr<Matrix8> matrix_;
};

}  // namespace

std::unique_ptr<Operation> make_convolution8(const Node& node) { return std::make_unique<Convolution8>(node); }

}  // namespace paddle_unstructured
