// What the operations on bytes have in common.
#pragma once

#include <algorithm>

#include "operation.h"
#include "quantization8.h"

namespace paddle_unstructured {

constexpr int64_t kByteGrain = 16384;  // bytes that are worth a task of their own
constexpr int64_t kByteUnit = 64;      // a run of bytes begins on a multiple of it

inline int64_t group_grain(const Shape& shape) { return kByteGrain / (shape.pitch() * kGroup) + 1; }

// Calls function(first byte, count) over all bytes of a value.
template <typename Function>
void share_bytes(const Context& context, const Shape& shape, const Function& function) {
  const int64_t bytes = groups_of(shape.channels) * shape.pitch() * kGroup;
  context.share_range((bytes + kByteUnit - 1) / kByteUnit, kByteGrain / kByteUnit, [&](int64_t first, int64_t last) {
    function(first * kByteUnit, std::min(last * kByteUnit, bytes) - first * kByteUnit);
  });
}

// What reads bytes, most of which make bytes too.
class ByteOperation : public Operation {
 public:
  Quantization accept(const Node& node, const std::vector<Quantization>& inputs) override {
    require_bytes(node, inputs);
    inputs_ = inputs;
    return accepted(node);
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override { return inputs[0]; }

 protected:
  virtual Quantization accepted(const Node& node) = 0;
  const Quantization& input(size_t which) const { return inputs_[which]; }

 private:
  std::vector<Quantization> inputs_;
};

std::unique_ptr<Operation> make_quantize(const Node& node);
std::unique_ptr<Operation> make_dequantize();
std::unique_ptr<Operation> make_convolution8(const Node& node);
std::unique_ptr<Operation> make_depthwise8(const Node& node);
std::unique_ptr<Operation> make_add8();
std::unique_ptr<Operation> make_multiply8();
std::unique_ptr<Operation> make_lookup8();
std::unique_ptr<Operation> make_pool8(const Node& node);
std::unique_ptr<Operation> make_global_pool8();
std::unique_ptr<Operation> make_concat8();
std::unique_ptr<Operation> make_flatten8();

}  // namespace paddle_unstructured
