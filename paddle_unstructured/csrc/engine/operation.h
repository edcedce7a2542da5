// One node of the plan, with its weights: it knows the shape it makes, and it runs. Immutable once built.
#pragma once

#include <memory>
#include <vector>

#include "context.h"
#include "parameters.h"
#include "plan.h"

namespace paddle_unstructured {

struct LoadContext {
  const Parameters& parameters;
  const KernelTable& kernels;
  int threads;
};

class Operation {
 public:
  virtual ~Operation() = default;

  // Of one sample; sizes may be kUnknown. Throws ModelError if the inputs do not fit.
  virtual Shape output_shape(const std::vector<Shape>& inputs) const = 0;
  virtual int64_t scratch_floats(const std::vector<Shape>& inputs) const {
    (void)inputs;
    return 0;
  }
  virtual void run(const Context& context) const = 0;
};

// `channels`: of each input, kUnknown where only the run will tell (a flattened plane).
std::unique_ptr<Operation> make_operation(const Node& node, const LoadContext& load);

std::unique_ptr<Operation> make_convolution(const Node& node, const LoadContext& load);
std::unique_ptr<Operation> make_depthwise(const Node& node, const LoadContext& load);
std::unique_ptr<Operation> make_pool(const Node& node);
std::unique_ptr<Operation> make_global_pool();
std::unique_ptr<Operation> make_add(const Node& node);
std::unique_ptr<Operation> make_multiply(const Node& node);
std::unique_ptr<Operation> make_activation(const Node& node);
std::unique_ptr<Operation> make_affine(const Node& node, const LoadContext& load);
std::unique_ptr<Operation> make_concat();
std::unique_ptr<Operation> make_flatten();
std::unique_ptr<Operation> make_softmax();

}  // namespace paddle_unstructured
