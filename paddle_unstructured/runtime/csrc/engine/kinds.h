// SPDX-License-Identifier: Apache-2.0
// The kinds of nodes that a plan may have.
#pragma once

#include <memory>

#include "operation.h"

namespace paddle_unstructured {

constexpr int32_t kAnyNumber = -1;

struct Kind {
  const char* name;
  int32_t inputs;  // how many values it reads; kAnyNumber: one or more
  Type reads;
  std::unique_ptr<Operation> (*make)(const Node& node);  // from the node's words alone
};

// Throws ModelError if there is no such kind.
const Kind& find_kind(const Node& node);

}  // namespace paddle_unstructured
