// Which kernels for bytes run: those that PADDLE_UNSTRUCTURED_ISA8 names, else the fastest that this processor has and
// that PADDLE_UNSTRUCTURED_ISA allows (avx2 allows avx_vnni and avx2).
#pragma once

#include "../kernels/table8.h"

namespace paddle_unstructured {

// Throws ModelError if a variable names a set that does not exist, was not built, or is not on this processor.
const KernelTable8& select_kernels8();

}  // namespace paddle_unstructured
