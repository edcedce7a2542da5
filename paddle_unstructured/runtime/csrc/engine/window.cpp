// SPDX-License-Identifier: Apache-2.0
#include "window.h"

#include <algorithm>

namespace paddle_unstructured {
namespace {

// A kernel may read kGuard floats outside its plane: (kernel - 1) * dilation and the padding stay well below that.
constexpr int32_t kLargestReach = 96;
constexpr int32_t kLargestKernel = kLargestReach + 1;

void read(const Node& node, const char* key, int32_t low, int32_t high, size_t count, int32_t* to) {
  const std::vector<int32_t> values = node.integers(key, count, low, high);
  std::copy(values.begin(), values.end(), to);
}

}  // namespace

WindowSize::WindowSize(const Node& node)
    : ceil(node.has("ceil") && node.integer("ceil", 0, 1) == 1),
      same(node.has("same") && node.integer("same", 0, 1) == 1) {
  read(node, "kernel", 1, kLargestKernel, 2, kernel);
  read(node, "stride", 1, kLargestKernel, 2, stride);
  read(node, "pad", 0, kLargestReach, 4, pad);
  read(node, "dilation", 1, kLargestReach, 2, dilation);
  for (int axis = 0; axis < 2; ++axis)
    if ((kernel[axis] - 1) * dilation[axis] > kLargestReach) node.refuse("has a window that is too large");
  if (same && (pad[0] != 0 || pad[1] != 0 || pad[2] != 0 || pad[3] != 0 || dilation[0] != 1 || dilation[1] != 1))
    node.refuse("has a padding or a dilation beside `same`");
}

int64_t WindowSize::output_size(int64_t size, int axis) const {
  if (size == kUnknown) return kUnknown;
  if (same) return (size + stride[axis] - 1) / stride[axis];
  const int32_t padding = pad[2 * axis] + pad[2 * axis + 1];
  const int64_t span = size + padding - ((kernel[axis] - 1) * dilation[axis] + 1);
  require(span >= 0, "the input is too small: a window of ", kernel[axis], " with dilation ", dilation[axis],
          " does not fit into ", size, " pixels and a padding of ", padding, "; give a larger input");
  return (ceil ? (span + stride[axis] - 1) / stride[axis] : span / stride[axis]) + 1;
}

int32_t WindowSize::padding_before(int64_t size, int axis) const {
  if (!same) return pad[2 * axis];
  const int64_t behind_first = (output_size(size, axis) - 1) * stride[axis] + kernel[axis];
  return static_cast<int32_t>(std::max<int64_t>(0, behind_first - size) / 2);
}

Window WindowSize::bind(const Shape& input, const Shape& output) const {
  return {static_cast<int32_t>(input.height),
          static_cast<int32_t>(input.width),
          static_cast<int32_t>(output.height),
          static_cast<int32_t>(output.width),
          kernel[0],
          kernel[1],
          stride[0],
          stride[1],
          padding_before(input.height, 0),
          padding_before(input.width, 1),
          dilation[0],
          dilation[1]};
}

int64_t WindowSize::pixel_under(int32_t ky, int32_t kx, const Shape& input) const {
  const int64_t y = int64_t{ky} * dilation[0] - padding_before(input.height, 0);
  const int64_t x = int64_t{kx} * dilation[1] - padding_before(input.width, 1);
  const bool inside = y >= 0 && y < input.height && x >= 0 && x < input.width;
  return inside ? y * input.width + x : -1;
}

PoolingWindow::PoolingWindow(const Node& node)
    : WindowSize(node),
      maximum(node.text("type") == "max"),
      exclusive(node.integer("exclusive", 0, 1) == 1) {
  if (!maximum && node.text("type") != "avg") node.refuse("has an unknown type: " + node.text("type"));
  if (dilation[0] != 1 || dilation[1] != 1) node.refuse("has a dilation");
}

}  // namespace paddle_unstructured
