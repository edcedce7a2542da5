// SPDX-License-Identifier: Apache-2.0
#include "memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "../kernels/planes.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace paddle_unstructured {

// A tile reads a few floats of each of many planes, every one on a page of its own: large pages help most there.
void* allocate_zeros(int64_t wanted) {
  constexpr size_t kLine = 64, kLargePage = size_t{1} << 21;
  size_t bytes = static_cast<size_t>(round_up(std::max<int64_t>(wanted, 1), kLine));
  const bool large = bytes >= kLargePage;
  if (large) bytes = (bytes + kLargePage - 1) / kLargePage * kLargePage;
  void* const memory = std::aligned_alloc(large ? kLargePage : kLine, bytes);
  if (memory == nullptr) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
  if (large) madvise(memory, bytes, MADV_HUGEPAGE);  // a wish; nothing depends on it
#endif
  std::memset(memory, 0, bytes);
  return memory;
}

void FreeMemory::operator()(void* memory) const { std::free(memory); }

}  // namespace paddle_unstructured
