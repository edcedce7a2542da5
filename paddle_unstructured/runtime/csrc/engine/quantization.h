// SPDX-License-Identifier: Apache-2.0
// How sums become bytes: read from the plan and checked when a model is loaded.
#pragma once

#include <vector>

#include "../kernels/int8/table.h"
#include "plan.h"
#include "value.h"

namespace paddle_unstructured::int8 {

// The words `scale` and `zero`.
Quantization read_quantization(const Node& node);

inline Format int8_format(const Quantization& quantization) { return {Type::kInt8, quantization}; }

struct ByteRange {
  int32_t low, high;
};

// The bytes between which the node's word `act` lets a value lie; activations that are no clamp are refused.
ByteRange byte_range(const Node& node, const Quantization& output);

// How a convolution's sums become bytes.
struct ByteFinish {
  ByteRange range{0, 255};
  float swish = 0;  // as Requantization has it
};

// The node's word `act`, a clamp or `hard_swish`.
ByteFinish byte_finish(const Node& node, const Quantization& output);

// A factor of the arithmetic, which must be finite.
float checked_factor(const Node& node, double factor);

constexpr int32_t kMostBlock = 32;  // outputs that share an entry of a sparse matrix

// What each output of a convolution brings: sums[o] of its weights, and of their sizes.
struct WeightSums {
  std::vector<int64_t> signed_sum, absolute_sum;

  explicit WeightSums(int32_t outputs) : signed_sum(padded(outputs)), absolute_sum(padded(outputs)) {}
  void add(size_t output, int8_t weight) {
    signed_sum[output] += weight;
    absolute_sum[output] += weight < 0 ? -int64_t{weight} : int64_t{weight};
  }
  static size_t padded(int32_t outputs) { return static_cast<size_t>(round_up(outputs, kMostBlock)); }
};

// Starting sums and factors of a convolution's outputs, filled with zeros to a whole vector.
struct OutputTerms {
  std::vector<int32_t> bias;
  std::vector<float> scale;  // to bytes; or to real numbers
  bool fits = true;          // every sum times its factor is far below 2^31, and so are sums of shifted bytes
};

// What the biases of kernels with a `shift` hold besides.
void add_shift(OutputTerms* terms, const WeightSums& sums, int32_t shift);

constexpr double kMostNumber = 1 << 30;  // that the fast kernels turn into a byte

// The portable ones saturate numbers of any size. Scales that differ so much are found where a layer made almost
// nothing but zeros when the model was calibrated.
inline const KernelTable& kernels_for(const KernelTable& kernels, bool fits) { return fits ? kernels : kPortable; }

// `output`: null for real numbers, which stay so in front of a hard-swish (`real`). Refuses what could leave int32.
OutputTerms output_terms(const Node& node, int32_t outputs, const float* weight_scale, const float* bias,
                         const WeightSums& sums, const Quantization& input, const Quantization* output,
                         bool real = false);

}  // namespace paddle_unstructured::int8
