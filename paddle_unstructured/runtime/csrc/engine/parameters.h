// SPDX-License-Identifier: Apache-2.0
// The parameters of a model, as the files or Paddle hand them over: borrowed while the model is built.
#pragma once

#include <cstdint>
#include <vector>

#include "plan.h"

namespace paddle_unstructured {

enum class DType : int32_t { kFloat32 = 0, kInt16 = 1, kInt32 = 2, kInt8 = 3 };

struct Array {
  DType dtype;
  int64_t count;
  const void* data;
};

class Parameters {
 public:
  explicit Parameters(std::vector<Array> arrays) : arrays_(std::move(arrays)) {}

  size_t size() const { return arrays_.size(); }
  // The `slot`-th of the node's word `params`, with exactly `count` values.
  const float* floats(const Node& node, size_t slot, int64_t count) const;
  const int8_t* bytes(const Node& node, size_t slot, int64_t count) const;
  // Bits of bfloat16, which are stored as int16.
  const uint16_t* halves(const Node& node, size_t slot, int64_t count) const;
  const Array& array(const Node& node, size_t slot) const;
  // int16 or int32 values as int32.
  std::vector<int32_t> integers(const Node& node, size_t slot) const;

  // FNV-1a, 64 bits, eight bytes at a time, over the plan's text below its digest and the types, sizes and bytes of all
  // arrays; in version 1 over sizes and bytes of the arrays alone. What `digest` in the plan must be.
  uint64_t digest(const PlanHead& plan) const;
  // Whether the plan's word `digest` is that, in 16 hexadecimal digits.
  bool are_of(const PlanHead& plan) const;

 private:
  std::vector<Array> arrays_;
};

}  // namespace paddle_unstructured
