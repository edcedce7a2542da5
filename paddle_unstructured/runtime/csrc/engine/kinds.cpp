// SPDX-License-Identifier: Apache-2.0
#include "kinds.h"

// A new kind: its row here, and a function of that name in a file of its own under ops/.
// A row: the name in the plan, how many values it reads, of which type, and what makes its operation.
#define PU_KINDS(KIND)                                                 \
  KIND("conv", 1, Type::kFloat32, f32, make_convolution)               \
  KIND("depthwise", 1, Type::kFloat32, f32, make_depthwise)            \
  KIND("pool", 1, Type::kFloat32, f32, make_pool)                      \
  KIND("global_pool", 1, Type::kFloat32, f32, make_global_pool)        \
  KIND("add", 2, Type::kFloat32, f32, make_add)                        \
  KIND("multiply", 2, Type::kFloat32, f32, make_multiply)              \
  KIND("subtract", 2, Type::kFloat32, f32, make_subtract)              \
  KIND("divide", 2, Type::kFloat32, f32, make_divide)                  \
  KIND("maximum", 2, Type::kFloat32, f32, make_maximum)                \
  KIND("minimum", 2, Type::kFloat32, f32, make_minimum)                \
  KIND("permute", 1, Type::kFloat32, f32, make_permute)                \
  KIND("slice", 1, Type::kFloat32, f32, make_slice)                    \
  KIND("repeat", 1, Type::kFloat32, f32, make_repeat)                  \
  KIND("constant", 1, Type::kFloat32, f32, make_constant)              \
  KIND("reduce", 1, Type::kFloat32, f32, make_reduce)                  \
  KIND("adaptive_pool", 1, Type::kFloat32, f32, make_adaptive_pool)    \
  KIND("arg", 1, Type::kFloat32, f32, make_arg)                        \
  KIND("activation", 1, Type::kFloat32, f32, make_activation)          \
  KIND("affine", 1, Type::kFloat32, f32, make_affine)                  \
  KIND("concat", kAnyNumber, Type::kFloat32, f32, make_concat)         \
  KIND("flatten", 1, Type::kFloat32, f32, make_flatten)                \
  KIND("softmax", 1, Type::kFloat32, f32, make_softmax)                \
  KIND("equal", 2, Type::kFloat32, f32, make_equal)                    \
  KIND("not_equal", 2, Type::kFloat32, f32, make_not_equal)            \
  KIND("less", 2, Type::kFloat32, f32, make_less)                      \
  KIND("less_equal", 2, Type::kFloat32, f32, make_less_equal)          \
  KIND("keep", 2, Type::kFloat32, f32, make_keep)                      \
  KIND("drop", 2, Type::kFloat32, f32, make_drop)                      \
  KIND("expand", 2, Type::kFloat32, f32, make_expand)                  \
  KIND("norm", 1, Type::kFloat32, f32, make_norm)                      \
  KIND("matmul", 2, Type::kFloat32, f32, make_matmul)                  \
  KIND("attention", kAnyNumber, Type::kFloat32, f32, make_attention)   \
  KIND("embedding", 1, Type::kFloat32, f32, make_embedding)            \
  KIND("positions", 1, Type::kFloat32, f32, make_positions)            \
  KIND("running_sum", 1, Type::kFloat32, f32, make_running_sum)        \
  KIND("triangle", 1, Type::kFloat32, f32, make_triangle)              \
  KIND("lags", 1, Type::kFloat32, f32, make_lags)                      \
  KIND("recurrent", kAnyNumber, Type::kFloat32, f32, make_recurrent)   \
  KIND("quantize", 1, Type::kFloat32, int8, make_quantize)             \
  KIND("dequantize", 1, Type::kInt8, int8, make_dequantize)            \
  KIND("int8.conv", kAnyNumber, Type::kInt8, int8, make_convolution)   \
  KIND("int8.depthwise", 1, Type::kInt8, int8, make_depthwise)         \
  KIND("int8.pool", 1, Type::kInt8, int8, make_pool)                   \
  KIND("int8.global_pool", 1, Type::kInt8, int8, make_global_pool)     \
  KIND("int8.adaptive_pool", 1, Type::kInt8, int8, make_adaptive_pool) \
  KIND("int8.reduce", 1, Type::kInt8, int8, make_reduce)               \
  KIND("int8.add", 2, Type::kInt8, int8, make_add)                     \
  KIND("int8.subtract", 2, Type::kInt8, int8, make_subtract)           \
  KIND("int8.multiply", 2, Type::kInt8, int8, make_multiply)           \
  KIND("int8.lookup", 1, Type::kInt8, int8, make_lookup)               \
  KIND("int8.concat", kAnyNumber, Type::kInt8, int8, make_concat)      \
  KIND("resize", kAnyNumber, Type::kFloat32, f32, make_resize)         \
  KIND("pad", 1, Type::kFloat32, f32, make_pad)                        \
  KIND("prelu", 1, Type::kFloat32, f32, make_prelu)                    \
  KIND("place", 1, Type::kFloat32, f32, make_place)                    \
  KIND("unpool", 2, Type::kFloat32, f32, make_unpool)                  \
  KIND("shaped", 2, Type::kFloat32, f32, make_shaped)                  \
  KIND("int8.permute", 1, Type::kInt8, int8, make_permute)             \
  KIND("int8.slice", 1, Type::kInt8, int8, make_slice)                 \
  KIND("int8.repeat", 1, Type::kInt8, int8, make_repeat)               \
  KIND("int8.resize", kAnyNumber, Type::kInt8, int8, make_resize)      \
  KIND("int8.pad", 1, Type::kInt8, int8, make_pad)                     \
  KIND("int8.flatten", 1, Type::kInt8, int8, make_flatten)             \
  KIND("bf16.round", 1, Type::kFloat32, bf16, make_round)              \
  KIND("bf16.widen", 1, Type::kBfloat16, bf16, make_widen)             \
  KIND("bf16.pool", 1, Type::kBfloat16, bf16, make_pool)               \
  KIND("bf16.depthwise", 1, Type::kBfloat16, bf16, make_depthwise)     \
  KIND("bf16.conv", kAnyNumber, Type::kBfloat16, bf16, make_convolution)

#define PU_DECLARE(name, inputs, reads, space, make) \
  namespace space {                                  \
  std::unique_ptr<Operation> make(const Node& node); \
  }
#define PU_ROW(name, inputs, reads, space, make) {name, inputs, reads, space::make},

namespace paddle_unstructured {

PU_KINDS(PU_DECLARE)

namespace {

const Kind kKinds[] = {PU_KINDS(PU_ROW)};

}  // namespace

const Kind& find_kind(const Node& node) {
  for (const Kind& kind : kKinds)
    if (node.kind() == kind.name) return kind;
  node.refuse("is a kind that this version does not know");
}

}  // namespace paddle_unstructured
