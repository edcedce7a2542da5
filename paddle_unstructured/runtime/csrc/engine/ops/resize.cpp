// SPDX-License-Identifier: Apache-2.0
#include "resize.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "../error.h"

namespace paddle_unstructured {
namespace {

constexpr int32_t kMostPadding = 1 << 12;
constexpr float kCubic = -0.75f;

std::vector<float> read_scale(const Node& node, const char* word) {
  std::vector<float> scale;
  std::istringstream parts(node.text(word));
  for (std::string part; std::getline(parts, part, ',');) {
    char* end = nullptr;
    scale.push_back(std::strtof(part.c_str(), &end));
    if (*end != '\0' || !(scale.back() > 0) || !(scale.back() < 4096)) node.refuse("has a bad scale: " + part);
  }
  if (scale.size() != 2) node.refuse("has too many or too few scales");
  return scale;
}

void cubic_weights(float t, float* weights) {  // of places -1, 0, 1, 2
  const auto near = [](float x) { return ((kCubic + 2) * x - (kCubic + 3)) * x * x + 1; };
  const auto far = [](float x) { return ((kCubic * x - 5 * kCubic) * x + 8 * kCubic) * x - 4 * kCubic; };
  weights[0] = far(t + 1);
  weights[1] = near(t);
  weights[2] = near(1 - t);
  weights[3] = far(2 - t);
}

}  // namespace

Resizing::Resizing(const Node& node)
    : align_corners_(node.integer("align_corners", 0, 1) == 1),
      half_pixel_(node.integer("half_pixel", 0, 1) == 1) {
  const std::string& mode = node.text("mode");
  taps_ = mode == "nearest" ? 1 : mode == "linear" ? 2 : mode == "cubic" ? 4 : 0;
  if (taps_ == 0) node.refuse("has an unknown mode: " + mode);
  if (node.has("size")) size_ = node.integers("size", 2, 1, kLargest);
  const char* const word = node.has("zero") ? "by" : "scale";  // `scale` and `zero` say what bytes mean
  if (node.has(word)) scale_ = read_scale(node, word);
  const size_t inputs = node.integers("from").size();
  if (inputs != (size_.empty() && scale_.empty() ? 2u : 1u)) node.refuse("has no size, or more than one");
}

int64_t Resizing::output_size(int64_t size, size_t axis) const {
  if (!size_.empty()) return size_[axis];
  if (size == kUnknown) return kUnknown;
  const auto made = static_cast<int64_t>(static_cast<float>(size) * scale_[axis]);
  require(made > 0, "a plane of ", size, " rows or columns is made too small; give a larger input");
  return made;
}

Shape Resizing::output_shape(const std::vector<Shape>& inputs) const {
  const Shape& input = inputs[0];
  if (inputs.size() == 2) return {input.channels, inputs[1].height, inputs[1].width};
  return {input.channels, output_size(input.height, 0), output_size(input.width, 1)};
}

Taps Resizing::taps(int64_t from, int64_t to, size_t axis) const {
  Taps made{taps_, std::vector<int32_t>(static_cast<size_t>(taps_ * to)), {}};
  if (taps_ > 1) made.weights.resize(static_cast<size_t>(taps_ * to));
  const float step = scale_.empty() ? static_cast<float>(from) / static_cast<float>(to) : 1.0f / scale_[axis];
  const float corner = to > 1 ? static_cast<float>(from - 1) / static_cast<float>(to - 1) : 0.0f;
  const float ratio = align_corners_ ? corner : to > 1 ? step : 0.0f;
  const auto last = static_cast<int32_t>(from - 1);
  for (int64_t i = 0; i < to; ++i) {
    const auto at = static_cast<float>(i);
    const auto put = [&](int64_t tap, int32_t place) {
      made.places[static_cast<size_t>(tap * to + i)] = std::clamp(place, 0, last);
    };
    if (taps_ == 1) {
      put(0, static_cast<int32_t>(align_corners_ ? ratio * at + 0.5f : ratio * at));
      continue;
    }
    const bool half = half_pixel_ && !align_corners_;
    const float place = half ? ratio * (at + 0.5f) - 0.5f : ratio * at;
    float weights[4];
    if (taps_ == 2) {
      const float inside = std::max(place, 0.0f);
      const auto first = static_cast<int32_t>(inside);
      put(0, first);
      put(1, first + 1);
      weights[1] = inside - static_cast<float>(first);
      weights[0] = 1.0f - weights[1];
    } else {
      const float first = std::floor(place);
      for (int32_t tap = 0; tap < 4; ++tap) put(tap, static_cast<int32_t>(first) - 1 + tap);
      cubic_weights(place - first, weights);
    }
    for (int32_t tap = 0; tap < taps_; ++tap) made.weights[static_cast<size_t>(tap * to + i)] = weights[tap];
  }
  return made;
}

Padding::Padding(const Node& node)
    : before_(node.integers("before", 3, -kMostPadding, kMostPadding)),
      after_(node.integers("after", 3, -kMostPadding, kMostPadding)),
      value_(node.has("value") ? node.number("value") : 0.0f) {
  const std::string& mode = node.text("mode");
  if (mode == "constant")
    mode_ = kConstant;
  else if (mode == "reflect")
    mode_ = kReflect;
  else if (mode == "replicate")
    mode_ = kReplicate;
  else if (mode == "circular")
    mode_ = kCircular;
  else
    node.refuse("has an unknown mode: " + mode);
  if (before_[0] < 0 || after_[0] < 0 || (pads_channels() && mode_ != kConstant))
    node.refuse("pads channels otherwise");
}

Shape Padding::output_shape(const Shape& input) const {
  const auto size = [&](int64_t from, size_t axis) -> int64_t {
    if (from == kUnknown) return kUnknown;
    const int64_t to = from + before_[axis] + after_[axis];
    const int64_t reach = std::max(before_[axis], after_[axis]);
    require(to > 0 && (mode_ != kReflect || reach < from) && (mode_ != kCircular || reach <= from), "a plane of ", from,
            " rows or columns is too small for the padding around it; give a larger input");
    return to;
  };
  return {size(input.channels, 0), size(input.height, 1), size(input.width, 2)};
}

std::vector<int32_t> Padding::places(int64_t size, size_t axis) const {
  std::vector<int32_t> places;
  for (int64_t i = -before_[axis]; i < size + after_[axis]; ++i) {
    int64_t place = i;
    if (i < 0 || i >= size) {
      if (mode_ == kConstant) place = -1;
      if (mode_ == kReflect) place = i < 0 ? -i : 2 * (size - 1) - i;
      if (mode_ == kReplicate) place = std::clamp<int64_t>(i, 0, size - 1);
      if (mode_ == kCircular) place = (i + size) % size;
    }
    places.push_back(static_cast<int32_t>(place));
  }
  return places;
}

Remap Padding::bind(const Shape& input, const Shape& output, uint32_t fill) const {
  return {0, input.width, input.pitch(), output.pitch(), places(input.height, 1), places(input.width, 2), fill};
}

}  // namespace paddle_unstructured
