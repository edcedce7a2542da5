// SPDX-License-Identifier: Apache-2.0
// Threads and memory of runs, lent to one run at a time.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "arena.h"
#include "threads.h"

namespace paddle_unstructured {

// Memory of one sample on its way through the net.
struct Workspace {
  Arena arena;
  std::vector<Shape> shapes;  // of every value; empty before the first sample
  Layout layout;
};

// What one run needs for itself.
struct Team {
  explicit Team(int threads) : pool(threads), workspaces(static_cast<size_t>(threads)) {}

  ThreadPool pool;
  std::vector<Workspace> workspaces;  // one per thread; used together only where samples are shared out
  std::vector<Arena> scratch_memory;
  std::vector<uint8_t*> scratch;  // one per thread
};

// Teams that no run has. May be used from several threads at once, and in forks of the process that made it: a fork
// begins without teams, and leaves those of its parent alone, whose threads it does not have.
class Teams {
 public:
  explicit Teams(int threads);
  ~Teams();
  Teams(const Teams&) = delete;
  Teams& operator=(const Teams&) = delete;

  int threads() const { return threads_; }

  class Borrowed {  // given back at the end of the run
   public:
    explicit Borrowed(Teams& teams);
    ~Borrowed();
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;
    Team& team() const { return *team_; }

   private:
    Teams& teams_;
    std::unique_ptr<Team> team_;
  };

 private:
  struct Idle;  // of one process
  Idle& idle();

  int threads_;
  std::atomic<Idle*> idle_;
};

}  // namespace paddle_unstructured
