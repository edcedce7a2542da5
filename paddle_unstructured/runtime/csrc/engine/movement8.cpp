// Between floats and bytes, and what only moves bytes. The kinds of the plan that are about bytes, by name.

#include <algorithm>
#include <cstring>

#include "error.h"
#include "operation8.h"

namespace paddle_unstructured {
namespace {

class Quantizing : public Operation {
 public:
  explicit Quantizing(const Node& node)
      : output_(read_quantization(node)), inverse_(checked_factor(node, 1.0 / double{output_.scale})) {}

  Quantization accept(const Node& node, const std::vector<Quantization>& inputs) override {
    require_floats(node, inputs);
    return output_;
  }

  bool reads_pixels_only() const override { return true; }

  Shape output_shape(const std::vector<Shape>& inputs) const override { return inputs[0]; }

  void run(const Context& context) const override {
    const Activations& input = context.inputs[0];
    const int64_t channels = input.shape.channels;
    const auto zero = static_cast<float>(output_.zero);
    if (input.pitch() == 1)
      return context.kernels8.quantize(input.data, inverse_, zero, bytes_of(context.output), channels);
    context.share_range(groups_of(channels), group_grain(input.shape), [&](int64_t first, int64_t last) {
      for (int64_t group = first; group < last; ++group) {
        const float* planes[kGroup];
        for (int64_t c = 0; c < kGroup; ++c) planes[c] = input.plane(std::min(group * kGroup + c, channels - 1));
        context.kernels8.quantize_group(planes, inverse_, zero, group_of(context.output, group), input.pitch());
      }
    });
  }

 private:
  Quantization output_;
  float inverse_;
};

class Dequantizing : public ByteOperation {
 public:
  void run(const Context& context) const override {
    const Activations& from = context.inputs[0];
    const Quantization& q = input(0);
    if (from.pitch() == 1)
      return context.kernels8.dequantize(bytes_of(from), q.scale, q.zero, context.output.data, from.shape.channels);
    context.share_range(from.shape.channels, group_grain(from.shape), [&](int64_t first, int64_t last) {
      for (int64_t channel = first; channel < last; ++channel)
        context.kernels8.dequantize_plane(group_of(from, channel / kGroup), static_cast<int32_t>(channel % kGroup),
                                          q.scale, q.zero, context.output.plane(channel), from.pitch());
    });
  }

 protected:
  Quantization accepted(const Node&) override { return {}; }
};

class Concatenation8 : public ByteOperation {
 public:
  Shape output_shape(const std::vector<Shape>& inputs) const override { return concatenated(inputs); }

  void run(const Context& context) const override {
    int64_t first = 0;
    for (const Activations& from : context.inputs) {
      copy_channels(from, context.output, first);
      first += from.shape.channels;
    }
  }

 protected:
  Quantization accepted(const Node& node) override {
    for (size_t i = 1; i < node.integers("from").size(); ++i)
      if (!(input(i) == input(0))) node.refuse("joins bytes of different scales");
    if (node.has("scale") && !(read_quantization(node) == input(0)))
      node.refuse("has a scale that its inputs have not");
    return input(0);
  }

 private:
  // Whole groups where the channels come to lie in the same lanes, else byte by byte.
  static void copy_channels(const Activations& from, const Activations& to, int64_t first) {
    const int64_t channels = from.shape.channels, pitch = from.pitch();
    if (first % kGroup == 0) {
      std::memcpy(group_of(to, first / kGroup), bytes_of(from),
                  static_cast<size_t>(groups_of(channels) * pitch * kGroup));
      return;
    }
    for (int64_t channel = 0; channel < channels; ++channel) {
      const uint8_t* const source = group_of(from, channel / kGroup) + channel % kGroup;
      uint8_t* const target = group_of(to, (first + channel) / kGroup) + (first + channel) % kGroup;
      for (int64_t pixel = 0; pixel < pitch; ++pixel) target[pixel * kGroup] = source[pixel * kGroup];
    }
  }
};

// [channels, height, width] to a plain vector in that order.
class Flattening8 : public ByteOperation {
 public:
  Shape output_shape(const std::vector<Shape>& inputs) const override { return {inputs[0].values(), 1, 1}; }

  void run(const Context& context) const override {
    const Activations& from = context.inputs[0];
    uint8_t* to = bytes_of(context.output);
    const int64_t pixels = from.shape.pixels();
    for (int64_t channel = 0; channel < from.shape.channels; ++channel) {
      const uint8_t* const source = group_of(from, channel / kGroup) + channel % kGroup;
      for (int64_t pixel = 0; pixel < pixels; ++pixel) *to++ = source[pixel * kGroup];
    }
  }

 protected:
  Quantization accepted(const Node&) override { return input(0); }
};

}  // namespace

std::unique_ptr<Operation> make_quantize(const Node& node) { return std::make_unique<Quantizing>(node); }
std::unique_ptr<Operation> make_dequantize() { return std::make_unique<Dequantizing>(); }
std::unique_ptr<Operation> make_concat8() { return std::make_unique<Concatenation8>(); }
std::unique_ptr<Operation> make_flatten8() { return std::make_unique<Flattening8>(); }

std::unique_ptr<Operation> make_operation8(const Node& node) {
  const std::string& kind = node.kind();
  if (kind == "quantize") return make_quantize(node);
  if (kind == "dequantize") return make_dequantize();
  if (kind == "conv8") return make_convolution8(node);
  if (kind == "depthwise8") return make_depthwise8(node);
  if (kind == "add8") return make_add8();
  if (kind == "multiply8") return make_multiply8();
  if (kind == "lookup8") return make_lookup8();
  if (kind == "pool8") return make_pool8(node);
  if (kind == "global_pool8") return make_global_pool8();
  if (kind == "concat8") return make_concat8();
  if (kind == "flatten8") return make_flatten8();
  return nullptr;
}

}  // namespace paddle_unstructured
