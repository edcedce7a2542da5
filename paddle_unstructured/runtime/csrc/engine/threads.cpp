// SPDX-License-Identifier: Apache-2.0
#include "threads.h"

namespace paddle_unstructured {
namespace {

constexpr int kSpins = 4000;  // some tens of microseconds: longer than the gap between two layers

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) : shares_(static_cast<size_t>(threads)) {
  try {
    for (int worker = 1; worker < threads; ++worker) workers_.emplace_back([this, worker] { work(worker); });
  } catch (...) {  // the system has no more of them
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
}

// `inside_` and `open_` keep the job's fields apart from late comers: a thread first says that it is inside and then
// looks whether the job is open; the caller first closes the job and then waits until nobody is inside.
void ThreadPool::run(int64_t count, TaskRef task) {
  if (workers_.empty() || count <= 1) {
    for (int64_t i = 0; i < count; ++i) task(i, 0);
    return;
  }
  task_ = task;
  for (int worker = 0; worker < size(); ++worker) {
    Share& share = shares_[static_cast<size_t>(worker)];
    share.next = count * worker / size();
    share.end = count * (worker + 1) / size();
  }
  open_ = true;
  ++jobs_;
  if (sleeping_ > 0) {
    const std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_all();
  }
  take_tasks(0);
  open_ = false;
  for (int spins = 0; inside_ > 0; ++spins) {
    if (spins < kSpins) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
}

// Its own share first: what a layer makes is then read by the core that has it in its cache.
void ThreadPool::take_tasks(int worker) {
  for (int other = 0; other < size(); ++other) {
    Share& share = shares_[static_cast<size_t>((worker + other) % size())];
    for (int64_t i = share.next++; i < share.end; i = share.next++) task_(i, worker);
  }
}

void ThreadPool::help(int worker) {
  ++inside_;
  if (open_) take_tasks(worker);
  --inside_;
}

void ThreadPool::work(int worker) {
  for (uint64_t seen = 0;;) {
    seen = wait_for_job(seen);
    if (stop_) return;
    help(worker);
  }
}

uint64_t ThreadPool::wait_for_job(uint64_t seen) {
  for (int spins = 0; spins < kSpins; ++spins) {
    if (jobs_ != seen || stop_) return jobs_;
    pause();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  ++sleeping_;
  wake_.wait(lock, [&] { return jobs_ != seen || stop_; });
  --sleeping_;
  return jobs_;
}

}  // namespace paddle_unstructured
