// SPDX-License-Identifier: Apache-2.0
// Aligned memory for weights, values and panels.
#pragma once

#include <cstdint>
#include <memory>

namespace paddle_unstructured {

// On 64 bytes at least, filled with zeros; large pieces ask for large pages. Throws std::bad_alloc.
void* allocate_zeros(int64_t bytes);

struct FreeMemory {
  void operator()(void* memory) const;
};

template <typename T>
class AlignedArray {
 public:
  AlignedArray() = default;
  explicit AlignedArray(int64_t count)
      : data_(static_cast<T*>(allocate_zeros(count * static_cast<int64_t>(sizeof(T))))) {}
  T* data() const { return data_.get(); }

 private:
  std::unique_ptr<T[], FreeMemory> data_;
};

}  // namespace paddle_unstructured
