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

void* WeightMemory::take_bytes(int64_t bytes) {
  constexpr int64_t kLine = 64, kLeast = int64_t{1} << 17, kLargePage = int64_t{1} << 21;
  bytes = round_up(bytes, kLine);
  if (bytes > left_) {
    const int64_t wanted = std::max(bytes, std::clamp(all_, kLeast, kLargePage));  // a small model stays small
    left_ = wanted < kLargePage ? wanted : round_up(wanted, kLargePage);
    slabs_.emplace_back(left_);
    next_ = slabs_.back().data();
    all_ += left_;
  }
  void* const taken = next_;
  next_ += bytes;
  left_ -= bytes;
  return taken;
}

void FreeMemory::operator()(void* memory) const { std::free(memory); }

}  // namespace paddle_unstructured
