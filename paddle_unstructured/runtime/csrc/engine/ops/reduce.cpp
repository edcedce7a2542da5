// SPDX-License-Identifier: Apache-2.0
#include "reduce.h"

#include <sstream>

namespace paddle_unstructured {

Over read_over(const Node& node) {
  Over over;
  std::istringstream names(node.text("over"));
  for (std::string name; std::getline(names, name, ',');) {
    bool* const one = name == "channels" ? &over.channels
                      : name == "height" ? &over.height
                      : name == "width"  ? &over.width
                                         : nullptr;
    if (one == nullptr) node.refuse("goes over an unknown axis: " + name);
    *one = true;
  }
  return over;
}

Bins::Bins(const Node& node) : maximum_(node.text("type") == "max") {
  if (!maximum_ && node.text("type") != "avg") node.refuse("has an unknown type: " + node.text("type"));
  const std::vector<int32_t> size = node.integers("size", 2, 1, 1 << 12);
  height_ = size[0];
  width_ = size[1];
}

}  // namespace paddle_unstructured
