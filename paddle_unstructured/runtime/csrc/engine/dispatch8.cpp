#include "dispatch8.h"

#include <cstdlib>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "error.h"

namespace paddle_unstructured {
namespace {

enum class Width { kPortable, k256, k512 };

struct Candidate {
  const KernelTable8* table;
  Width width;
  bool (*is_here)();
};

#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool has_avx512_vnni() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}

bool has_avx512_vbmi() { return has_avx512_vnni() && __builtin_cpu_supports("avx512vbmi"); }

#ifdef PU_HAS_AVX_VNNI
#ifdef PU_AVX_VNNI_AS_AVX512  // for tests: the same source in the encoding of AVX-512
bool has_avx_vnni() { return has_avx512_vnni(); }
#else
// Not every compiler that can compile it can ask for it: leaf 7, subleaf 1, EAX, bit 4.
bool has_avx_vnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1) != 0;
}
#endif
#endif
#endif

bool is_always_here() { return true; }

// The fastest first.
const Candidate kCandidates[] = {
#if defined(__x86_64__)
    {&kAvx512VbmiKernels8, Width::k512, has_avx512_vbmi},
    {&kAvx512VnniKernels8, Width::k512, has_avx512_vnni},
#ifdef PU_HAS_AVX_VNNI
    {&kAvxVnniKernels8, Width::k256, has_avx_vnni},
#endif
    {&kAvx2Kernels8, Width::k256, has_avx2},
#endif
    {&kPortableKernels8, Width::kPortable, is_always_here},
};

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

const KernelTable8& select_kernels8() {
  const std::string named = variable("PADDLE_UNSTRUCTURED_ISA8"), allowed = variable("PADDLE_UNSTRUCTURED_ISA");
  const Width widest = allowed == "portable" ? Width::kPortable : allowed == "avx2" ? Width::k256 : Width::k512;
  for (const Candidate& candidate : kCandidates)
    if (named.empty() ? candidate.width <= widest && candidate.is_here()
                      : named == candidate.table->name && candidate.is_here())
      return *candidate.table;
  fail("PADDLE_UNSTRUCTURED_ISA8 must be avx512_vbmi, avx512_vnni, avx_vnni, avx2 or portable, and one that this "
       "processor has, got ", named);
}

}  // namespace paddle_unstructured
