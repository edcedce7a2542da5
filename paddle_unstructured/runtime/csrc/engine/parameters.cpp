// SPDX-License-Identifier: Apache-2.0
#include "parameters.h"

#include <cstdio>
#include <cstring>

#include "error.h"

namespace paddle_unstructured {
namespace {

size_t item_size(DType dtype) { return dtype == DType::kInt8 ? 1 : dtype == DType::kInt16 ? 2 : 4; }

void mix(uint64_t& state, uint64_t word) { state = (state ^ word) * 0x100000001b3ull; }

void mix_bytes(uint64_t& state, const void* from, size_t bytes) {
  const auto* const data = static_cast<const unsigned char*>(from);
  mix(state, bytes);
  size_t at = 0;
  for (uint64_t word; at + 8 <= bytes; at += 8) {
    std::memcpy(&word, data + at, 8);
    mix(state, word);
  }
  uint64_t tail = 0;
  if (at < bytes) std::memcpy(&tail, data + at, bytes - at);
  mix(state, tail);
}

}  // namespace

const Array& Parameters::array(const Node& node, size_t slot) const {
  const std::vector<int64_t> indices = node.integers("params");
  if (slot >= indices.size()) node.refuse("lacks a parameter");
  const int64_t index = indices[slot];
  if (index < 0 || index >= static_cast<int64_t>(arrays_.size())) node.refuse("names a parameter that is not there");
  return arrays_[static_cast<size_t>(index)];
}

const float* Parameters::floats(const Node& node, size_t slot, int64_t count) const {
  const Array& found = array(node, slot);
  if (found.dtype != DType::kFloat32 || found.count != count) {
    node.refuse("has a parameter of the wrong type or size");
  }
  return static_cast<const float*>(found.data);
}

const int8_t* Parameters::bytes(const Node& node, size_t slot, int64_t count) const {
  const Array& found = array(node, slot);
  if (found.dtype != DType::kInt8 || found.count != count) node.refuse("has a parameter of the wrong type or size");
  return static_cast<const int8_t*>(found.data);
}

const uint16_t* Parameters::halves(const Node& node, size_t slot, int64_t count) const {
  const Array& found = array(node, slot);
  if (found.dtype != DType::kInt16 || found.count != count) node.refuse("has a parameter of the wrong type or size");
  return static_cast<const uint16_t*>(found.data);
}

std::vector<int32_t> Parameters::integers(const Node& node, size_t slot) const {
  const Array& found = array(node, slot);
  if (found.dtype != DType::kInt16 && found.dtype != DType::kInt32) node.refuse("has a parameter of the wrong type");
  if (found.dtype == DType::kInt32) {
    const auto* const first = static_cast<const int32_t*>(found.data);
    return std::vector<int32_t>(first, first + found.count);
  }
  const auto* const first = static_cast<const int16_t*>(found.data);
  return std::vector<int32_t>(first, first + found.count);
}

uint64_t Parameters::digest(const PlanHead& plan) const {
  uint64_t state = 0xcbf29ce484222325ull;
  if (plan.version > 1) mix_bytes(state, plan.described.data(), plan.described.size());
  for (const Array& each : arrays_) {
    if (plan.version > 1) mix(state, static_cast<uint64_t>(each.dtype));
    mix_bytes(state, each.data, static_cast<size_t>(each.count) * item_size(each.dtype));
  }
  return state;
}

bool Parameters::are_of(const PlanHead& plan) const {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(digest(plan)));
  return plan.digest == text;
}

}  // namespace paddle_unstructured
