// Which instruction set runs: the widest that this processor has, or the one that PADDLE_UNSTRUCTURED_ISA names.
#pragma once

#include "../kernels/table.h"

namespace paddle_unstructured {

// Throws ModelError if the variable names a set that does not exist, was not built, or is not on this processor.
const KernelTable& select_kernels();

}  // namespace paddle_unstructured
