// SPDX-License-Identifier: Apache-2.0
// The plan: the text attribute that says what the whole net computes. ../README.md describes its language.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "../kernels/planes.h"

namespace paddle_unstructured {

std::vector<std::string> split(const std::string& text, char separator);

// One line: a kind, and words `key=value`.
class Node {
 public:
  Node(const std::string& line, int number);

  const std::string& kind() const { return kind_; }
  int number() const { return number_; }
  bool has(const std::string& key) const { return words_.count(key) != 0; }
  const std::string& text(const std::string& key) const;
  std::vector<int64_t> integers(const std::string& key) const;  // at least one
  // `count` integers in [low, high].
  std::vector<int32_t> integers(const std::string& key, size_t count, int32_t low, int32_t high) const;
  int32_t integer(const std::string& key, int32_t low, int32_t high) const { return integers(key, 1, low, high)[0]; }
  float number(const std::string& key) const;
  Activation activation() const;  // of the word `act`; none if there is no such word
  [[noreturn]] void refuse(const std::string& why) const;

 private:
  std::string kind_;
  std::map<std::string, std::string> words_;
  int number_;
};

struct PlanHead {
  int version;
  std::string digest;     // as the plan says
  std::string described;  // what the digest covers beside the parameters: all lines below it; nothing in version 1
};

struct Plan {
  PlanHead head;
  std::vector<Node> inputs;  // values 0, 1, ...
  std::vector<Node> nodes;   // node i makes value inputs.size() + i
  std::vector<Node> outputs;
};

// The first two lines.
PlanHead parse_head(const std::string& text);
Plan parse_plan(const std::string& text);

}  // namespace paddle_unstructured
