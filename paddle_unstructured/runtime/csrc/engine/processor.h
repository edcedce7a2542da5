// SPDX-License-Identifier: Apache-2.0
// What the processor has of what there are kernels for.
#pragma once

namespace paddle_unstructured {

struct Processor {
  bool avx2, avx512, avx512_vnni, avx512_vbmi, avx_vnni, amx, amx_bf16;
  bool dotprod, i8mm;  // of 64-bit ARM, all of which have NEON
};

Processor detect_processor();

// Tiles are many registers, which Linux keeps for a process only when it has asked: once, for all its threads and
// forks, those of now and of later. False where it refuses.
bool may_use_tiles();

}  // namespace paddle_unstructured
