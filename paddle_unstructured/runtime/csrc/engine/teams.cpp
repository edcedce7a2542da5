// SPDX-License-Identifier: Apache-2.0
#include "teams.h"

#include <mutex>

#include "forks.h"

namespace paddle_unstructured {

struct Teams::Idle {
  uint64_t process = count_forks();
  std::mutex mutex;
  std::vector<std::unique_ptr<Team>> teams;
};

Teams::Teams(int threads) : threads_(threads), idle_(new Idle) {}

// Nothing can be done with what the parent of a fork left: its threads cannot be joined, and its mutex may be locked
// for ever. Its memory is shared with the parent until somebody writes to it.
Teams::~Teams() {
  Idle* const last = idle_;
  if (last->process == count_forks()) delete last;
}

Teams::Idle& Teams::idle() {
  Idle* known = idle_;
  if (known->process == count_forks()) return *known;
  auto own = std::make_unique<Idle>();
  if (idle_.compare_exchange_strong(known, own.get())) return *own.release();
  return *known;  // another thread of this fork was faster
}

Teams::Borrowed::Borrowed(Teams& teams) : teams_(teams) {
  Idle& idle = teams.idle();
  {
    const std::lock_guard<std::mutex> lock(idle.mutex);
    if (!idle.teams.empty()) {
      team_ = std::move(idle.teams.back());
      idle.teams.pop_back();
    }
  }
  if (team_ == nullptr) team_ = std::make_unique<Team>(teams.threads_);
}

Teams::Borrowed::~Borrowed() {
  Idle& idle = teams_.idle();
  const std::lock_guard<std::mutex> lock(idle.mutex);
  idle.teams.push_back(std::move(team_));
}

}  // namespace paddle_unstructured
