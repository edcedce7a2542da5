// What an operation gets when it runs: its inputs and output, the kernels, and helpers to share the work.
#pragma once

#include <vector>

#include "../kernels/table8.h"
#include "shape.h"
#include "threads.h"

namespace paddle_unstructured {

struct Context {
  const KernelTable& kernels;
  const KernelTable8& kernels8;
  ThreadPool* pool;                     // null: this sample has one thread
  const std::vector<float*>& scratch;   // one per worker, as large as the operation asked for
  std::vector<Activations> inputs;
  Activations output;

  void share(int64_t tasks, TaskRef task) const {
    if (pool != nullptr) return pool->run(tasks, task);
    for (int64_t i = 0; i < tasks; ++i) task(i, 0);
  }

  int threads() const { return pool == nullptr ? 1 : pool->size(); }

  // Shares [0, count) in runs of at least `grain`.
  template <typename Function>
  void share_range(int64_t count, int64_t grain, const Function& function) const {
    const int64_t runs = std::max<int64_t>(1, std::min<int64_t>(4 * threads(), count / std::max<int64_t>(grain, 1)));
    share(threads() == 1 ? 1 : runs, [&](int64_t run, int) {
      const int64_t all = threads() == 1 ? 1 : runs;
      function(count * run / all, count * (run + 1) / all);
    });
  }
};

}  // namespace paddle_unstructured
