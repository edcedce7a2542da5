#include "dispatch.h"

#include <cstdlib>
#include <string>

#include "error.h"

namespace paddle_unstructured {
namespace {

#if defined(__x86_64__)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

const KernelTable* find(const std::string& name) {
  if (name == "avx512") return has_avx512() ? &kAvx512Kernels : nullptr;
  if (name == "avx2") return has_avx2() ? &kAvx2Kernels : nullptr;
  return name == "portable" ? &kPortableKernels : nullptr;
}

const KernelTable& widest() { return has_avx512() ? kAvx512Kernels : has_avx2() ? kAvx2Kernels : kPortableKernels; }
#else
const KernelTable* find(const std::string& name) { return name == "portable" ? &kPortableKernels : nullptr; }

const KernelTable& widest() { return kPortableKernels; }
#endif

}  // namespace

const KernelTable& select_kernels() {
  const char* const forced = std::getenv("PADDLE_UNSTRUCTURED_ISA");
  if (forced == nullptr || *forced == '\0') return widest();
  const KernelTable* const table = find(forced);
  require(table != nullptr,
          "PADDLE_UNSTRUCTURED_ISA must be avx512, avx2 or portable, and one that this processor has, got ", forced);
  return *table;
}

}  // namespace paddle_unstructured
