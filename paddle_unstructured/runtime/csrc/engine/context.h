// SPDX-License-Identifier: Apache-2.0
// What an operation gets when it runs: its inputs and output, the kernels, and helpers to share the work.
#pragma once

#include <algorithm>
#include <atomic>
#include <vector>

#include "dispatch.h"
#include "threads.h"
#include "value.h"

namespace paddle_unstructured {

struct Context {
  const Kernels& kernels;
  ThreadPool* pool;                         // null: this sample has one thread
  const std::vector<uint8_t*>& scratch_of;  // one per worker, as large as the operation asked for
  std::atomic<bool>& lost_nan;              // set where a NaN of this sample meets a type that has none
  std::vector<Value> inputs;
  Value output;

  template <typename T>
  T* scratch(int worker) const {
    return reinterpret_cast<T*>(scratch_of[static_cast<size_t>(worker)]);
  }

  void share(int64_t tasks, TaskRef task) const {
    if (pool != nullptr) return pool->run(tasks, task);
    for (int64_t i = 0; i < tasks; ++i) task(i, 0);
  }

  int threads() const { return pool == nullptr ? 1 : pool->size(); }

  // Calls function(tile, first slice, last slice, worker). Where tiles are few for the threads, the slices of the
  // outputs are shared out too. They come before the tiles, so that a worker's own share is a range of outputs: the
  // channels that it takes of a depthwise layer behind this one, and the weights that stay in its cache.
  template <typename Function>
  void share_tiles(int64_t tiles, int32_t slices, const Function& function) const {
    const int64_t enough = std::max<int64_t>(threads(), (2 * threads() + tiles - 1) / tiles);
    const int64_t parts = threads() == 1 || tiles >= 4 * threads() ? 1 : std::min<int64_t>(slices, enough);
    share(tiles * parts, [&](int64_t task, int worker) {
      const int64_t part = task / tiles;
      function(task % tiles, static_cast<int32_t>(slices * part / parts),
               static_cast<int32_t>(slices * (part + 1) / parts), worker);
    });
  }

  // Shares [0, count) in runs of at least `grain`.
  template <typename Function>
  void share_range(int64_t count, int64_t grain, const Function& function) const {
    const int64_t runs = std::max<int64_t>(1, std::min<int64_t>(4 * threads(), count / std::max<int64_t>(grain, 1)));
    share(threads() == 1 ? 1 : runs, [&](int64_t run, int) {
      const int64_t all = threads() == 1 ? 1 : runs;
      function(count * run / all, count * (run + 1) / all);
    });
  }

  // Shares a kernel's task in such runs: each has a copy whose `first` and `last` say what is its own.
  template <typename Task>
  void share_task(const Task& task, int64_t count, int64_t grain, void (*kernel)(const Task&)) const {
    share_range(count, grain, [&](int64_t first, int64_t last) {
      Task part = task;
      part.first = static_cast<int32_t>(first);
      part.last = static_cast<int32_t>(last);
      kernel(part);
    });
  }
};

}  // namespace paddle_unstructured
