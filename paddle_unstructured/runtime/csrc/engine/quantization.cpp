// SPDX-License-Identifier: Apache-2.0
#include "quantization.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace paddle_unstructured::int8 {
namespace {

constexpr double kLargestFactor = 1e30;  // a sum of products with it stays finite

int32_t byte_bound(double real, const Quantization& output) {
  return static_cast<int32_t>(std::clamp(std::nearbyint(real / double{output.scale}) + output.zero, 0.0, 255.0));
}

int64_t saturated(double value) {
  constexpr double kMost = std::numeric_limits<int32_t>::max(), kLeast = std::numeric_limits<int32_t>::min();
  return static_cast<int64_t>(std::clamp(std::nearbyint(value), kLeast, kMost));
}

}  // namespace

Quantization read_quantization(const Node& node) {
  const float scale = node.number("scale");
  if (!std::isfinite(scale) || !(scale > 0)) node.refuse("has a scale that is not a positive number");
  return {scale, node.integer("zero", 0, 255)};
}

ByteRange byte_range(const Node& node, const Quantization& output) {
  const Activation activation = node.activation();
  if (!activation.is_clamp() || !(activation.a <= activation.b))
    node.refuse("has an activation that int8 does not take");
  return {byte_bound(activation.a, output), byte_bound(activation.b, output)};
}

ByteFinish byte_finish(const Node& node, const Quantization& output) {
  if (node.activation().kind != ActivationKind::kHardSwish) return {byte_range(node, output)};
  return {{0, 255}, checked_factor(node, 1 / (6 * double{output.scale}))};
}

float checked_factor(const Node& node, double factor) {
  if (!(std::fabs(factor) <= kLargestFactor)) node.refuse("has scales that do not fit together");
  return static_cast<float>(factor);
}

OutputTerms output_terms(const Node& node, int32_t outputs, const float* weight_scale, const float* bias,
                         const WeightSums& sums, const Quantization& input, const Quantization* output, bool real) {
  OutputTerms terms{std::vector<int32_t>(WeightSums::padded(outputs)), std::vector<float>(WeightSums::padded(outputs))};
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  for (size_t o = 0; o < static_cast<size_t>(outputs); ++o) {
    if (!std::isfinite(weight_scale[o]) || !(weight_scale[o] > 0))
      node.refuse("has a weight scale that is not positive");
    if (!std::isfinite(bias[o])) node.refuse("has a bias that is not finite");
    const double step = double{input.scale} * double{weight_scale[o]};
    const int64_t start = saturated(double{bias[o]} / step) - input.zero * sums.signed_sum[o];
    const int64_t largest = std::abs(start) + 255 * sums.absolute_sum[o];
    if (largest > kMost) node.refuse("has weights whose sums leave 32 bits");
    terms.bias[o] = static_cast<int32_t>(start);
    const double factor = output == nullptr ? step : step / double{output->scale};
    terms.scale[o] = checked_factor(node, real ? step : factor);
    terms.fits = terms.fits && largest + sums.absolute_sum[o] <= kMost &&
                 (output == nullptr || static_cast<double>(largest) * checked_factor(node, factor) < kMostNumber);
  }
  return terms;
}

void add_shift(OutputTerms* terms, const WeightSums& sums, int32_t shift) {
  for (size_t o = 0; o < terms->bias.size(); ++o) terms->bias[o] += shift * static_cast<int32_t>(sums.signed_sum[o]);
}

}  // namespace paddle_unstructured::int8
