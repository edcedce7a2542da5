// SPDX-License-Identifier: Apache-2.0
// What the processor has of what there are kernels for.
#pragma once

#include <cstdint>

namespace paddle_unstructured {

struct Processor {
  bool avx2, avx512, avx512_vnni, avx512_vbmi, avx_vnni, amx, amx_bf16;
  bool dotprod, i8mm;  // of 64-bit ARM, all of which have NEON
};

Processor detect_processor();

// Bytes of the first-level cache for data of a core, as the system says; 32 KB where it does not.
int64_t first_level_bytes();

// Tiles are many registers, which Linux keeps for a process only when it has asked: once, for all its threads and
// forks, those of now and of later. False where it refuses.
bool may_use_tiles();

}  // namespace paddle_unstructured
