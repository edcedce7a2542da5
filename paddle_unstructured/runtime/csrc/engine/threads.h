// SPDX-License-Identifier: Apache-2.0
// Threads of our own that share out numbered tasks: each begins with its own part; whoever is done helps the others.
//
// The calling thread works too, and it never waits for a thread that has not begun: if the other cores are busy, it
// simply does all the tasks itself. No OpenMP, so there is nothing to clash with Paddle's.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace paddle_unstructured {

// A borrowed callable: void(int64_t task, int worker). Tasks must not throw.
class TaskRef {
 public:
  TaskRef() = default;
  template <typename Callable, typename = std::enable_if_t<!std::is_same_v<std::decay_t<Callable>, TaskRef>>>
  TaskRef(const Callable& callable)  // NOLINT: converts, as a view does
      : object_(&callable),
        call_([](const void* object, int64_t task, int worker) {
          (*static_cast<const Callable*>(object))(task, worker);
        }) {}
  void operator()(int64_t task, int worker) const { call_(object_, task, worker); }

 private:
  const void* object_ = nullptr;
  void (*call_)(const void*, int64_t, int) = nullptr;
};

class ThreadPool {
 public:
  explicit ThreadPool(int threads);  // the calling thread is one of them
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls task(0..count-1, worker) with 0 <= worker < size(), and returns when all are done. One caller at a time.
  void run(int64_t count, TaskRef task);

 private:
  void stop();
  void work(int worker);
  void help(int worker);
  void take_tasks(int worker);
  uint64_t wait_for_job(uint64_t seen);

  struct alignas(64) Share {  // of the tasks; a cache line each
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };

  std::vector<Share> shares_;  // one per thread, made before the threads
  std::vector<std::thread> workers_;
  TaskRef task_;
  std::atomic<bool> open_{false};  // a thread may join the job
  std::atomic<int> inside_{0};     // threads that look at the job
  std::atomic<uint64_t> jobs_{0};
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace paddle_unstructured
