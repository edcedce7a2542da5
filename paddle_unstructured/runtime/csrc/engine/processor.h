// SPDX-License-Identifier: Apache-2.0
// What the processor has of what there are kernels for.
#pragma once

namespace paddle_unstructured {

struct Processor {
  bool avx2, avx512, avx512_vnni, avx512_vbmi, avx_vnni;
};

Processor detect_processor();

}  // namespace paddle_unstructured
