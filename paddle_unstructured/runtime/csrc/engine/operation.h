// One node of the plan: it knows the shape it makes, and once its weights are loaded it runs. Immutable from then on.
#pragma once

#include <memory>
#include <vector>

#include "context.h"
#include "parameters.h"
#include "plan.h"
#include "quantization8.h"

namespace paddle_unstructured {

struct LoadContext {
  const Parameters& parameters;
  const KernelTable& kernels;
  const KernelTable8& kernels8;
  int threads;
};

class Operation {
 public:
  virtual ~Operation() = default;

  // From what its inputs are, floats or bytes, to what it makes; called once, before `load`. Throws ModelError if it
  // does not take them.
  virtual Quantization accept(const Node& node, const std::vector<Quantization>& inputs) {
    require_floats(node, inputs);
    return {};
  }
  // Whether it reads nothing of a plane but its pixels, wherever these lie: then it takes the caller's input as it is.
  virtual bool reads_pixels_only() const { return false; }
  // Of one sample; sizes may be kUnknown. Throws ModelError if the inputs do not fit.
  virtual Shape output_shape(const std::vector<Shape>& inputs) const = 0;
  virtual int64_t scratch_floats(const std::vector<Shape>& inputs) const {
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

// From the node's words alone.
std::unique_ptr<Operation> make_operation(const Node& node);

// One operation that does what both do in turn, or null. Nobody else may read what the first one makes.
std::shared_ptr<Operation> fuse(const std::shared_ptr<Operation>& first, const std::shared_ptr<Operation>& second);

// What `concat` makes of these, side by side in channels.
Shape concatenated(const std::vector<Shape>& inputs);

std::unique_ptr<Operation> make_convolution(const Node& node);
std::unique_ptr<Operation> make_depthwise(const Node& node);
std::unique_ptr<Operation> make_pool(const Node& node);
std::unique_ptr<Operation> make_global_pool();
std::unique_ptr<Operation> make_add(const Node& node);
std::unique_ptr<Operation> make_multiply(const Node& node);
std::unique_ptr<Operation> make_activation(const Node& node);
std::unique_ptr<Operation> make_affine(const Node& node);
std::unique_ptr<Operation> make_concat();
std::unique_ptr<Operation> make_flatten();
std::unique_ptr<Operation> make_softmax();
std::unique_ptr<Operation> make_operation8(const Node& node);  // the kinds for bytes; null if it is none of them

}  // namespace paddle_unstructured
