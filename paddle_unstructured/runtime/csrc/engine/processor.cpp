// SPDX-License-Identifier: Apache-2.0
#include "processor.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace paddle_unstructured {

#if defined(__x86_64__)
namespace {

// Not every compiler that can compile it can ask for it: leaf 7, subleaf 1, EAX, bit 4.
bool has_avx_vnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1) != 0;
}

}  // namespace

Processor detect_processor() {
  Processor here{};
  here.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  here.avx512 = here.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  here.avx512_vnni = here.avx512 && __builtin_cpu_supports("avx512vnni");
  here.avx512_vbmi = here.avx512_vnni && __builtin_cpu_supports("avx512vbmi");
#ifdef PU_AVX_VNNI_AS_AVX512  // for tests: the same source in the encoding of AVX-512
  here.avx_vnni = here.avx512_vnni;
#else
  here.avx_vnni = here.avx2 && has_avx_vnni();
#endif
  return here;
}
#else
Processor detect_processor() { return {}; }
#endif

}  // namespace paddle_unstructured
