// SPDX-License-Identifier: Apache-2.0
// A depthwise convolution and the 1x1 convolution that alone reads it, in turn for a band of rows: what the first makes
// never leaves the second-level cache. MobileNet's early planes are larger than that cache.

#include <algorithm>
#include <numeric>

#include "convolution.h"

namespace paddle_unstructured {
namespace f32 {
namespace {

constexpr int64_t kLine = kPlaneAlign * kPixelBytes;
constexpr int64_t kBandFloats = 64 * 1024;  // of the depthwise output: a quarter of a megabyte

class SeparableConvolution : public Operation {
 public:
  SeparableConvolution(std::shared_ptr<const DepthwiseConvolution> depthwise,
                       std::shared_ptr<const Convolution> pointwise)
      : depthwise_(std::move(depthwise)),
        pointwise_(std::move(pointwise)) {}

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    return pointwise_->output_shape({depthwise_->output_shape(inputs)});
  }

  int64_t scratch_bytes(const std::vector<Shape>& inputs) const override {
    const Shape middle = depthwise_->output_shape(inputs);
    if (!in_bands(middle))
      return round_up(pointwise_->scratch_bytes({middle}), kLine) + bytes_of(middle, Type::kFloat32) + kGuardBytes;
    const int64_t floats = pointwise_->panel_floats() + middle.channels * band_pitch(middle) + kGuard;
    return floats * int64_t{sizeof(float)};
  }

  void run(const Context& context) const override {
    const Shape middle = depthwise_->output_shape({context.inputs[0].shape});
    if (!in_bands(middle)) return run_whole(context, middle);
    const int64_t rows = band_rows(middle), bands = (middle.height + rows - 1) / rows;
    context.share(bands, [&](int64_t band, int worker) {
      run_band(context, middle, context.scratch<float>(worker), band * rows,
               std::min(middle.height, (band + 1) * rows));
    });
  }

 private:
  // Bands begin on a whole vector of the output plane, and hold whole groups of rows of the depthwise kernel.
  static int64_t band_rows(const Shape& middle) {
    const int64_t group = middle.height % 7 == 0 ? 7 : 4;
    const int64_t step = std::lcm(kPlaneAlign / std::gcd(middle.width, int64_t{kPlaneAlign}), group);
    return std::max(step, kBandFloats / std::max<int64_t>(1, middle.channels * middle.width) / step * step);
  }

  // An odd number of cache lines, so that the channels of a tile do not compete for the same ones.
  static int64_t band_pitch(const Shape& middle) {
    return (round_up(band_rows(middle) * middle.width, kPlaneAlign) / kPlaneAlign | 1) * kPlaneAlign;
  }

  // Only planes that are large beside a band; small ones stay in the cache, and threads share them better by channels.
  static bool in_bands(const Shape& middle) {
    return middle.pixels() > 1 && bytes_of(middle, Type::kFloat32) > 2 * kBandFloats * kPixelBytes &&
           middle.height >= 3 * band_rows(middle);
  }

  void run_whole(const Context& context, const Shape& middle) const {
    // Behind the scratch that the second convolution uses itself.
    uint8_t* const between =
        context.scratch<uint8_t>(0) + round_up(pointwise_->scratch_bytes({middle}), kLine) + kGuardBytes / 2;
    Context part = context;
    part.output = {between, middle, Type::kFloat32, {}};
    depthwise_->run(part);
    part.inputs = {part.output};
    part.output = context.output;
    pointwise_->run(part);
  }

  void run_band(const Context& context, const Shape& middle, float* scratch, int64_t first_row,
                int64_t last_row) const {
    const int64_t pitch = band_pitch(middle);
    float* const band = scratch + round_up(pointwise_->panel_floats(), kPlaneAlign);
    depthwise_->run_part(context.kernels.f32, context.inputs[0], middle,
                         {0, middle.channels, first_row, last_row, band, pitch});
    const auto rows = static_cast<int32_t>(last_row - first_row), width = static_cast<int32_t>(middle.width);
    const Window window{rows, width, rows, width, 1, 1, 1, 1, 0, 0, 1, 1};
    const int32_t lanes = context.kernels.f32.lanes;
    const MatrixCuts& matrix = pointwise_->matrix();
    const int64_t vectors = (rows * middle.width + lanes - 1) / lanes, tiles = matrix.tiling().tiles(vectors);
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t first = vectors * tile / tiles, last = vectors * (tile + 1) / tiles;
      pointwise_->run_part(context, {band, static_cast<ptrdiff_t>(pitch)}, window, scratch,
                           {first * lanes, first_row * middle.width + first * lanes, static_cast<int32_t>(last - first),
                            0, matrix.slices()});
    }
  }

  std::shared_ptr<const DepthwiseConvolution> depthwise_;
  std::shared_ptr<const Convolution> pointwise_;
};

}  // namespace
}  // namespace f32

std::shared_ptr<Operation> fuse(const std::shared_ptr<Operation>& first, const std::shared_ptr<Operation>& second) {
  auto depthwise = std::dynamic_pointer_cast<const f32::DepthwiseConvolution>(first);
  auto pointwise = std::dynamic_pointer_cast<const f32::Convolution>(second);
  if (depthwise == nullptr || pointwise == nullptr || !pointwise->size().is_plain()) return nullptr;
  return std::make_shared<f32::SeparableConvolution>(std::move(depthwise), std::move(pointwise));
}

}  // namespace paddle_unstructured
