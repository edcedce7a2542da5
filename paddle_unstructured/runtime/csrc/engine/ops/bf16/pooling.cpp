// SPDX-License-Identifier: Apache-2.0
// Maxima over windows of bfloat16: none of them is rounded.

#include "../shapes.h"
#include "../../window.h"

namespace paddle_unstructured::bf16 {
namespace {

class Pooling : public Operation {
 public:
  explicit Pooling(const Node& node) : window_(node) {
    if (!window_.maximum || window_.stride[0] > 2 || window_.stride[1] > 2) node.refuse("has no bfloat16 kernel");
  }

  Format accept(const Node&, const std::vector<Format>&) override { return {Type::kBfloat16, {}}; }
  Shape output_shape(const std::vector<Shape>& inputs) const override { return window_.output_shape(inputs[0]); }

  void run(const Context& context) const override {
    const Value &input = context.inputs[0], &output = context.output;
    Pool task{};
    task.input = {input.bytes(), static_cast<ptrdiff_t>(input.group_pitch())};
    task.window = window_.bind(input.shape, output.shape);
    task.output = output.bytes();
    task.output_pitch = static_cast<ptrdiff_t>(output.group_pitch());
    task.channels = static_cast<int32_t>(input.shape.channels);
    context.share_task(task, output.shape.pairs(), plane_grain(output.shape), context.kernels.bf16.pool);
  }

 private:
  PoolingWindow window_;
};

}  // namespace

std::unique_ptr<Operation> make_pool(const Node& node) { return std::make_unique<Pooling>(node); }

}  // namespace paddle_unstructured::bf16
