// SPDX-License-Identifier: Apache-2.0
#include "move.h"

#include <algorithm>
#include <string>

#include "../error.h"
#include "shapes.h"

namespace paddle_unstructured {
namespace {

const char* const kAxes[] = {"channels", "height", "width"};

int64_t product(const std::vector<int64_t>& extents, const std::vector<size_t>& which) {
  int64_t all = 1;
  for (const size_t i : which) all = all == kUnknown || extents[i] == kUnknown ? kUnknown : all * extents[i];
  return all;
}

}  // namespace

Permutation::Permutation(const Node& node) {
  for (int axis = 0; axis < 3; ++axis) {
    if (!node.has(kAxes[axis])) continue;
    int open = 0;
    int64_t whole = 1;
    for (const int64_t extent : node.integers(kAxes[axis])) {
      if (extent != kUnknown && (extent < 1 || extent > kLargest)) node.refuse("has a factor out of range");
      open += extent == kUnknown;
      whole *= extent == kUnknown ? 1 : extent;
      if (open > 1 || whole > kLargest) node.refuse("has factors that do not fit together");
      extents_.push_back(extent);
      axes_.push_back(axis);
    }
  }
  std::vector<bool> used(extents_.size());
  for (int axis = 0; axis < 3; ++axis) {
    const std::string key = std::string("to_") + kAxes[axis];
    if (!node.has(key)) continue;
    for (const int64_t which : node.integers(key)) {
      if (which < 0 || static_cast<size_t>(which) >= extents_.size() || used[static_cast<size_t>(which)])
        node.refuse("puts a factor in no place, or in two");
      used[static_cast<size_t>(which)] = true;
      to_[axis].push_back(static_cast<size_t>(which));
    }
  }
  if (std::find(used.begin(), used.end(), false) != used.end()) node.refuse("leaves a factor out");
}

std::vector<int64_t> Permutation::extents(const Shape& input) const {
  std::vector<int64_t> extents = extents_;
  for (int axis = 0; axis < 3; ++axis) {
    int64_t fixed = 1, *open = nullptr;
    for (size_t i = 0; i < extents.size(); ++i) {
      if (axes_[i] != axis) continue;
      if (extents[i] == kUnknown)
        open = &extents[i];
      else
        fixed *= extents[i];
    }
    const int64_t size = size_on(input, axis);
    if (size == kUnknown) continue;
    const bool fits = open != nullptr ? size % fixed == 0 : size == fixed;
    require(fits, "the ", kAxes[axis], " of an activation are ", size, ", which the model takes apart into parts of ",
            fixed, "; give an input of a size that the model was made for");
    if (open != nullptr) *open = size / fixed;
  }
  return extents;
}

Shape Permutation::output_shape(const Shape& input) const {
  const std::vector<int64_t> all = extents(input);
  return {product(all, to_[0]), product(all, to_[1]), product(all, to_[2])};
}

std::vector<Permutation::Factor> Permutation::bind(const Shape& input) const {
  const std::vector<int64_t> all = extents(input);
  std::vector<int64_t> from(all.size());
  int64_t stride[3] = {1, 1, 1};
  for (size_t i = all.size(); i-- > 0;) {
    from[i] = stride[axes_[i]];
    stride[axes_[i]] *= all[i];
  }
  std::vector<Factor> factors;
  for (int axis = 0; axis < 3; ++axis) {
    int64_t to = product(all, to_[axis]);
    for (const size_t i : to_[axis]) {
      to /= all[i];
      factors.push_back({all[i], axes_[i], axis, from[i], to});
    }
  }
  return factors;
}

Slicing::Axis read_axis(const Node& node) {
  const std::string& name = node.text("axis");
  for (int axis = 0; axis < 3; ++axis)
    if (name == kAxes[axis]) return static_cast<Slicing::Axis>(axis);
  if (name != "pixels") node.refuse("has an unknown axis: " + name);
  return Slicing::kPixels;
}

Slicing::Slicing(const Node& node)
    : axis_(read_axis(node)),
      start_(node.integer("start", -kLargest, kLargest)),
      step_(node.integer("step", -kLargest, kLargest)),
      count_(node.has("count") ? node.integer("count", 1, kLargest) : kUnknown),
      stop_(count_ == kUnknown ? node.integer("stop", -kLargest, kLargest) : 0) {
  if (step_ == 0 || (count_ == kUnknown && step_ < 0)) node.refuse("has a step that it cannot take");
  if (count_ != kUnknown && (start_ < 0 || start_ + (count_ - 1) * step_ < 0)) node.refuse("begins before its axis");
}

int64_t Slicing::extent_of(const Shape& input) const {
  if (axis_ != kPixels) return size_on(input, axis_);
  return input.height == kUnknown || input.width == kUnknown ? kUnknown : input.pixels();
}

Slicing::Range Slicing::bind(const Shape& input) const {
  const int64_t extent = extent_of(input);
  if (count_ != kUnknown) {
    require(extent == kUnknown || std::max(start_, start_ + (count_ - 1) * step_) < extent, "a slice of ", extent,
            " places goes beyond them; give an input of a size that the model was made for");
    return {start_, step_, count_};
  }
  if (extent == kUnknown) return {0, step_, kUnknown};
  const auto place = [&](int64_t at) { return std::clamp<int64_t>(at < 0 ? at + extent : at, 0, extent); };
  const int64_t start = place(start_), count = (place(stop_) - start + step_ - 1) / step_;
  require(count > 0, "a slice of ", extent, " places holds nothing; give a larger input");
  return {start, step_, count};
}

Shape Slicing::output_shape(const Shape& input) const {
  const int64_t count = bind(input).count;
  if (axis_ == kChannels) return {count, input.height, input.width};
  if (axis_ == kHeight) return {input.channels, count, input.width};
  if (axis_ == kWidth) return {input.channels, input.height, count};
  return {input.channels, 1, count};
}

Shape shape_of_join(const std::vector<Shape>& inputs, Slicing::Axis axis) {
  if (axis == Slicing::kChannels) return shape_of_concat(inputs);
  Shape all{inputs[0].channels, axis == Slicing::kWidth ? inputs[0].height : 0,
            axis == Slicing::kHeight ? inputs[0].width : 0};
  if (axis == Slicing::kPixels) all.height = 1, all.width = 0;
  for (const Shape& one : inputs) {
    const bool fits = may_equal(one.channels, all.channels) &&
                      (axis != Slicing::kHeight || may_equal(one.width, all.width)) &&
                      (axis != Slicing::kWidth || may_equal(one.height, all.height));
    require(fits, "a concatenation of activations of different sizes");
    const int64_t more = axis == Slicing::kHeight                          ? one.height
                         : axis == Slicing::kWidth                         ? one.width
                         : one.height == kUnknown || one.width == kUnknown ? kUnknown
                                                                           : one.pixels();
    int64_t& grows = axis == Slicing::kHeight ? all.height : all.width;
    grows = grows == kUnknown || more == kUnknown ? kUnknown : grows + more;
  }
  return all;
}

}  // namespace paddle_unstructured
