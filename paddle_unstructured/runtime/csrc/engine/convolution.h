// The two kinds of convolution, as the separable one (both in turn, band by band) needs to see them.
#pragma once

#include "operation.h"
#include "weights.h"
#include "window.h"

namespace paddle_unstructured {

class Convolution : public Operation {
 public:
  explicit Convolution(const Node& node);

  void load(const Node& node, const LoadContext& context) override;
  Shape output_shape(const std::vector<Shape>& inputs) const override;
  int64_t scratch_floats(const std::vector<Shape>& inputs) const override;
  void run(const Context& context) const override;

  bool is_single_pixel() const;  // 1x1, stride 1, no padding
  int32_t slices() const { return matrix_->slices(); }
  int64_t panel_floats() const;

  // Some vectors of pixels: of the window from `pixel` on, to the output from `to` on.
  struct Part {
    int64_t pixel;
    int64_t to;
    int32_t vectors;
    int32_t first_slice, last_slice;
  };
  void run_part(const Context& context, const Window& window, float* panel, const Part& part) const;
  const Tiling& tiling() const { return matrix_->tiling(); }

 private:
  bool reads_in_place(const Window& window) const;
  void make_panel(const Context& context, const Window& window, float* panel, int32_t block, int64_t pixel,
                  Tile* tile) const;
  void activate_rows(const Context& context, const Tile& tile, const Part& part) const;
  void run_single_pixel(const Context& context) const;
  const float* single_pixel_input(const Context& context) const;

  WindowSize window_;
  Activation activation_;
  int32_t channels_, outputs_;
  std::unique_ptr<Matrix> matrix_;
};

class DepthwiseConvolution : public Operation {
 public:
  explicit DepthwiseConvolution(const Node& node);

  void load(const Node& node, const LoadContext& context) override;
  Shape output_shape(const std::vector<Shape>& inputs) const override;
  void run(const Context& context) const override;

  // Rows [first_row, last_row) of channels [first, last); `output.data` is where row first_row of channel 0 goes, and
  // `pitch` lies between the channels there.
  struct Part {
    int64_t first, last;
    int64_t first_row, last_row;
    float* output;
    int64_t pitch;
  };
  void run_part(const KernelTable& kernels, const Activations& input, const Shape& whole, const Part& part) const;

 private:
  WindowSize window_;
  Activation activation_;
  int32_t channels_;
  AlignedFloats weight_, bias_;
};

}  // namespace paddle_unstructured
