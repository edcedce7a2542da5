// SPDX-License-Identifier: Apache-2.0
// Whether this process is a fork of the one that made something: threads do not live on in a fork, and what they held
// or were about to wake for is lost with them.
#pragma once

#include <cstdint>

namespace paddle_unstructured {

// How many forks lie between the process that loaded this library and this one.
uint64_t count_forks();

}  // namespace paddle_unstructured
