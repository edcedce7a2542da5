// SPDX-License-Identifier: Apache-2.0
#include "forks.h"

#include <pthread.h>

#include <atomic>

namespace paddle_unstructured {
namespace {

std::atomic<uint64_t> forks{0};

[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] { ++forks; });

}  // namespace

uint64_t count_forks() { return forks; }

}  // namespace paddle_unstructured
