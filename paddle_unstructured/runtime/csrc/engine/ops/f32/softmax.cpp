// SPDX-License-Identifier: Apache-2.0
// Softmax of a vector.

#include "../../error.h"
#include "../../operation.h"

namespace paddle_unstructured::f32 {
namespace {

class Softmax : public Operation {
 public:
  Shape output_shape(const std::vector<Shape>& inputs) const override {
    require(may_equal(inputs[0].values(), inputs[0].channels), "a softmax over planes, where it takes vectors");
    return inputs[0];
  }

  void run(const Context& context) const override {
    const Value& input = context.inputs[0];
    context.kernels.f32.softmax(input.floats(), context.output.floats(), input.shape.channels);
  }
};

}  // namespace

std::unique_ptr<Operation> make_softmax(const Node&) { return std::make_unique<Softmax>(); }

}  // namespace paddle_unstructured::f32
