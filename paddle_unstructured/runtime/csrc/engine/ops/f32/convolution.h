// SPDX-License-Identifier: Apache-2.0
// The two kinds of float32 convolution, as the separable one (both in turn, band by band) needs to see them.
#pragma once

#include "matrix.h"

namespace paddle_unstructured::f32 {

class Convolution : public Operation {
 public:
  explicit Convolution(const Node& node) : size_(node), activation_(node.activation()) {}

  void load(const Node& node, const LoadContext& context) override { matrix_ = load_matrix(node, context, size_); }
  Shape output_shape(const std::vector<Shape>& inputs) const override { return size_.output_shape(inputs[0]); }
  int64_t scratch_bytes(const std::vector<Shape>& inputs) const override;
  void run(const Context& context) const override;

  const ConvolutionSize& size() const { return size_; }
  const Matrix& matrix() const { return *matrix_; }
  int64_t panel_floats() const;
  // A part of the window over `input`, by way of a panel, to the context's output.
  void run_part(const Context& context, const Planes& input, const Window& window, float* panel,
                const TilePart& part) const;

 private:
  void make_panel(const Context& context, const Planes& input, const Window& window, float* panel, int32_t block,
                  int64_t pixel, Tile* tile) const;
  void activate_rows(const Context& context, const Tile& tile, const TilePart& part) const;
  void run_single_pixel(const Context& context) const;
  const float* single_pixel_input(const Context& context) const;

  ConvolutionSize size_;
  Activation activation_;
  std::unique_ptr<Matrix> matrix_;
};

class DepthwiseConvolution : public Operation {
 public:
  explicit DepthwiseConvolution(const Node& node) : size_(node), activation_(node.activation()) {}

  void load(const Node& node, const LoadContext& context) override;
  Shape output_shape(const std::vector<Shape>& inputs) const override { return size_.output_shape(inputs[0]); }
  void run(const Context& context) const override;

  // Rows [first_row, last_row) of channels [first, last); `output` is where row first_row of channel 0 goes, and
  // `pitch` lies between the channels there.
  struct Part {
    int64_t first, last;
    int64_t first_row, last_row;
    float* output;
    int64_t pitch;
  };
  void run_part(const KernelTable& kernels, const Value& input, const Shape& whole, const Part& part) const;

 private:
  DepthwiseSize size_;
  Activation activation_;
  AlignedArray<float> weight_, bias_;
};

inline Planes planes_of(const Value& value) { return {value.floats(), static_cast<ptrdiff_t>(value.pitch())}; }

}  // namespace paddle_unstructured::f32
