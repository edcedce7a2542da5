// SPDX-License-Identifier: Apache-2.0
// One node of the plan: it knows the shape it makes, and once its weights are loaded it runs. Immutable from then on.
#pragma once

#include <memory>
#include <vector>

#include "context.h"
#include "memory.h"
#include "parameters.h"
#include "plan.h"

namespace paddle_unstructured {

struct LoadContext {
  const Parameters& parameters;
  const Kernels& kernels;
  int threads;
  WeightMemory& memory;  // of the model
};

class Operation {
 public:
  virtual ~Operation() = default;

  // From what its inputs are (of the type that its kind reads) to what it makes; called once, before `load`. Throws
  // ModelError if it does not take them.
  virtual Format accept(const Node& node, const std::vector<Format>& inputs) {
    (void)node;
    (void)inputs;
    return {};
  }
  // Whether it reads nothing of a plane but its pixels, wherever these lie: then it takes the caller's input as it is.
  virtual bool reads_pixels_only() const { return false; }
  // The input whose place the output may take: it is of the same type and shape, and each vector of it is read for the
  // last time right before that of the output is written there. Negative: none.
  virtual int overwrites() const { return -1; }
  // Of one sample; sizes may be kUnknown. Throws ModelError if the inputs do not fit.
  virtual Shape output_shape(const std::vector<Shape>& inputs) const { return inputs[0]; }
  virtual int64_t scratch_bytes(const std::vector<Shape>& inputs) const {
    (void)inputs;
    return 0;
  }
  // Checks and rearranges the parameters that the node names.
  virtual void load(const Node& node, const LoadContext& context) {
    (void)node;
    (void)context;
  }
  virtual void run(const Context& context) const = 0;
};

// One operation that does what both do in turn, or null. Nobody else may read what the first one makes.
std::shared_ptr<Operation> fuse(const std::shared_ptr<Operation>& first, const std::shared_ptr<Operation>& second);

}  // namespace paddle_unstructured
