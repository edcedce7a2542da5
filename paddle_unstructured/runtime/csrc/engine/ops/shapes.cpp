// SPDX-License-Identifier: Apache-2.0
#include "shapes.h"

#include "../error.h"

namespace paddle_unstructured {

Shape shape_of_sum(const std::vector<Shape>& inputs) {
  const Shape &a = inputs[0], &b = inputs[1];
  require(may_equal(a.channels, b.channels) && may_equal(a.height, b.height) && may_equal(a.width, b.width),
          "a sum of two activations of different sizes; give an input of the size that the model was made for");
  return a.known() ? a : b;
}

namespace {

int64_t size_of_pair(int64_t a, int64_t b) {
  if (a == 1) return b;
  if (b == 1) return a;
  require(may_equal(a, b), "two activations meet, one of ", a, " and one of ", b,
          " places; give an input of the size that the model was made for");
  return a == kUnknown ? b : a;
}

}  // namespace

Shape shape_of_pair(const std::vector<Shape>& inputs) {
  const Shape &a = inputs[0], &b = inputs[1];
  return {size_of_pair(a.channels, b.channels), size_of_pair(a.height, b.height), size_of_pair(a.width, b.width)};
}

Shape shape_of_product(const std::vector<Shape>& inputs) {
  const Shape &a = inputs[0], &b = inputs[1];
  const bool sizes = !a.known() || !b.known() || a.pixels() == 1 || b.pixels() == 1 || a == b;
  require(may_equal(a.channels, b.channels) && sizes,
          "a product of activations of different sizes; give an input of the size that the model was made for");
  return a.known() && a.pixels() == 1 ? b : a;
}

Shape shape_of_concat(const std::vector<Shape>& inputs) {
  Shape all = inputs[0];
  for (size_t i = 1; i < inputs.size(); ++i) {
    require(may_equal(all.height, inputs[i].height) && may_equal(all.width, inputs[i].width),
            "a concatenation of activations of different sizes");
    const bool known = all.channels != kUnknown && inputs[i].channels != kUnknown;
    all.channels = known ? all.channels + inputs[i].channels : kUnknown;
  }
  return all;
}

}  // namespace paddle_unstructured
