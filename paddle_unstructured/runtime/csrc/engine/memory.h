// SPDX-License-Identifier: Apache-2.0
// Aligned memory for weights, values and panels.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

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

// The weights of a model behind each other, on large pages where they are many: each alone would be too small for one.
// Lives as long as what was taken from it.
class WeightMemory {
 public:
  // `count` zeros, on 64 bytes.
  template <typename T>
  T* take(int64_t count) {
    return static_cast<T*>(take_bytes(count * static_cast<int64_t>(sizeof(T))));
  }

 private:
  void* take_bytes(int64_t bytes);

  std::vector<AlignedArray<uint8_t>> slabs_;
  uint8_t* next_ = nullptr;
  int64_t left_ = 0, all_ = 0;
};

}  // namespace paddle_unstructured
