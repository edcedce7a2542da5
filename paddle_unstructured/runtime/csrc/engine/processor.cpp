// SPDX-License-Identifier: Apache-2.0
#include "processor.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#endif
#if defined(__linux__)
#include <unistd.h>
#endif
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace paddle_unstructured {

#if defined(__x86_64__)
namespace {

// Not every compiler that can compile it can ask for it: leaf 7, subleaf 1, EAX, bit 4.
bool has_avx_vnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1) != 0;
}

// Leaf 7, subleaf 1, EAX, bit 5.
bool has_avx512_bf16() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 5 & 1) != 0;
}

constexpr unsigned kTilesOfBytes = 3u << 24, kTilesOfBfloat16 = 1u << 24 | 1u << 22;  // leaf 7, EDX

// The processor has tiles of this kind, and the system saves them (XCR0, bits 17 and 18).
bool has_amx(unsigned bits) {
  constexpr unsigned kSavesExtended = 1u << 27;  // leaf 1, ECX: XGETBV may be used
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & kSavesExtended) == 0) return false;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & bits) != bits) return false;
  unsigned low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low >> 17 & 3) == 3;
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
  here.amx = here.avx512_vbmi && has_amx(kTilesOfBytes);
  here.amx_bf16 = here.avx512_vbmi && has_avx512_bf16() && has_amx(kTilesOfBfloat16);
  return here;
}
#elif defined(__aarch64__) && defined(__linux__)
Processor detect_processor() {
  constexpr unsigned long kDotprod = 1ul << 20, kI8mm = 1ul << 13;  // HWCAP_ASIMDDP, HWCAP2_I8MM
  Processor here{};
  here.dotprod = (getauxval(AT_HWCAP) & kDotprod) != 0;
  here.i8mm = here.dotprod && (getauxval(AT_HWCAP2) & kI8mm) != 0;
  return here;
}
#else
Processor detect_processor() { return {}; }
#endif

int64_t first_level_bytes() {
  constexpr int64_t kUsual = 32 * 1024;
#if defined(__linux__) && defined(_SC_LEVEL1_DCACHE_SIZE)
  static const int64_t found = sysconf(_SC_LEVEL1_DCACHE_SIZE);
  if (found > 0) return found;
#endif
  return kUsual;
}

#if defined(__x86_64__) && defined(__linux__)
bool may_use_tiles() {
  constexpr long kAskForState = 0x1023, kTiles = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool permitted = syscall(SYS_arch_prctl, kAskForState, kTiles) == 0;
  return permitted;
}
#else
bool may_use_tiles() { return false; }
#endif

}  // namespace paddle_unstructured
