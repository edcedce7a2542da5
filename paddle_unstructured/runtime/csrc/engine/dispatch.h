// SPDX-License-Identifier: Apache-2.0
// Which kernels run: those that the environment names, else the fastest that this processor has.
//
// PADDLE_UNSTRUCTURED_ISA names the float32 kernels, and how wide the others may be (avx2 allows avx_vnni and avx2);
// PADDLE_UNSTRUCTURED_ISA_INT8 and PADDLE_UNSTRUCTURED_ISA_BF16 name these.
#pragma once

#include "../kernels/bf16/table.h"
#include "../kernels/f32/table.h"
#include "../kernels/int8/table.h"

namespace paddle_unstructured {

struct Kernels {
  const f32::KernelTable& f32;
  const int8::KernelTable& int8;
  const bf16::KernelTable& bf16;
};

// Throws ModelError if a variable names a set that does not exist, was not built, or is not on this processor.
Kernels select_kernels();

}  // namespace paddle_unstructured
