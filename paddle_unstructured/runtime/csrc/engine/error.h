// SPDX-License-Identifier: Apache-2.0
// What a user did or a file holds that cannot be run; the message says what is wrong and what to do.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace paddle_unstructured {

class ModelError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <typename... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw ModelError(text.str());
}

template <typename... Parts>
void require(bool holds, const Parts&... parts) {
  if (!holds) fail(parts...);
}

}  // namespace paddle_unstructured
