// SPDX-License-Identifier: Apache-2.0
#include "plan.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <locale>
#include <sstream>

#include "error.h"

namespace paddle_unstructured {
namespace {

constexpr char kFirstLine[] = "paddle_unstructured plan ";
constexpr int kVersion = 3;

float parse_number(const Node& node, const std::string& text) {
  std::istringstream stream(text);
  stream.imbue(std::locale::classic());  // a program may have made the comma its decimal point
  float value = 0;
  stream >> value;
  if (stream.fail() || !stream.eof()) node.refuse("has a number that is none: " + text);
  return value;
}

struct NamedActivation {
  const char* name;
  Activation activation;
  size_t arguments;
};

const NamedActivation kActivations[] = {
    {"none", {ActivationKind::kClamp, -INFINITY, INFINITY}, 0},
    {"relu", {ActivationKind::kClamp, 0, INFINITY}, 0},
    {"relu6", {ActivationKind::kClamp, 0, 6}, 0},
    {"clamp", {ActivationKind::kClamp, 0, 0}, 2},
    {"hard_sigmoid", {ActivationKind::kHardSigmoid, 0, 0}, 2},
    {"hard_swish", {ActivationKind::kHardSwish, 0, 0}, 0},
    {"sigmoid", {ActivationKind::kSigmoid, 0, 0}, 0},
    {"swish", {ActivationKind::kSwish, 0, 0}, 0},
    {"leaky_relu", {ActivationKind::kLeakyRelu, 0, 0}, 1},
    {"tanh", {ActivationKind::kTanh, 0, 0}, 0},
    {"gelu", {ActivationKind::kGelu, 0, 0}, 0},
    {"gelu_tanh", {ActivationKind::kGeluTanh, 0, 0}, 0},
    {"linear", {ActivationKind::kLinear, 0, 0}, 2},
    {"elu", {ActivationKind::kElu, 0, 0}, 2},
    {"selu", {ActivationKind::kSelu, 0, 0}, 2},
    {"mish", {ActivationKind::kMish, 0, 0}, 0},
    {"softplus", {ActivationKind::kSoftplus, 0, 0}, 2},
    {"softsign", {ActivationKind::kSoftsign, 0, 0}, 0},
    {"log_sigmoid", {ActivationKind::kLogSigmoid, 0, 0}, 0},
    {"hard_shrink", {ActivationKind::kHardShrink, 0, 0}, 1},
    {"soft_shrink", {ActivationKind::kSoftShrink, 0, 0}, 1},
    {"thresholded", {ActivationKind::kThresholded, 0, 0}, 2},
    {"exp", {ActivationKind::kExp, 0, 0}, 0},
    {"log", {ActivationKind::kLog, 0, 0}, 0},
    {"sqrt", {ActivationKind::kSqrt, 0, 0}, 0},
    {"rsqrt", {ActivationKind::kRsqrt, 0, 0}, 0},
    {"square", {ActivationKind::kSquare, 0, 0}, 0},
    {"abs", {ActivationKind::kAbs, 0, 0}, 0},
    {"reciprocal", {ActivationKind::kReciprocal, 0, 0}, 0},
    {"sin", {ActivationKind::kSin, 0, 0}, 0},
    {"cos", {ActivationKind::kCos, 0, 0}, 0},
    {"floor", {ActivationKind::kFloor, 0, 0}, 0},
    {"ceil", {ActivationKind::kCeil, 0, 0}, 0},
    {"round", {ActivationKind::kRound, 0, 0}, 0},
    {"trunc", {ActivationKind::kTrunc, 0, 0}, 0},
    {"sign", {ActivationKind::kSign, 0, 0}, 0},
    {"pow", {ActivationKind::kPower, 0, 0}, 1},
};

}  // namespace

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

Node::Node(const std::string& line, int number) : number_(number) {
  std::istringstream stream(line);
  stream >> kind_;
  for (std::string word; stream >> word;) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) refuse("has a word without '=': " + word);
    words_[word.substr(0, equals)] = word.substr(equals + 1);
  }
}

void Node::refuse(const std::string& why) const {
  fail("line ", number_, " of the model's plan (", kind_, ") ", why, "; the model file is damaged: convert it again");
}

const std::string& Node::text(const std::string& key) const {
  const auto found = words_.find(key);
  if (found == words_.end()) refuse("lacks " + key);
  return found->second;
}

std::vector<int64_t> Node::integers(const std::string& key) const {
  std::vector<int64_t> values;
  for (const std::string& part : split(text(key), ',')) {
    char* end = nullptr;
    const int64_t value = std::strtoll(part.c_str(), &end, 10);
    if (part.empty() || *end != '\0') refuse("has a bad " + key + ": " + part);
    values.push_back(value);
  }
  if (values.empty()) refuse("has no number: " + key + "=");
  return values;
}

std::vector<int32_t> Node::integers(const std::string& key, size_t count, int32_t low, int32_t high) const {
  std::vector<int32_t> values;
  for (const int64_t value : integers(key)) {
    if (value < low || value > high) refuse("has a " + key + " out of range: " + text(key));
    values.push_back(static_cast<int32_t>(value));
  }
  if (values.size() != count) refuse("has too many or too few numbers: " + key + "=" + text(key));
  return values;
}

float Node::number(const std::string& key) const { return parse_number(*this, text(key)); }

Activation Node::activation() const {
  const std::vector<std::string> parts = split(has("act") ? text("act") : "none", ':');
  for (const NamedActivation& known : kActivations) {
    if (parts.empty() || parts[0] != known.name || parts.size() != known.arguments + 1) continue;
    Activation activation = known.activation;
    if (known.arguments >= 1) activation.a = parse_number(*this, parts[1]);
    if (known.arguments >= 2) activation.b = parse_number(*this, parts[2]);
    return activation;
  }
  refuse("has an unknown activation: " + text("act"));
}

namespace {

// Version 1 named the kinds of int8 with an 8 at their end, and its digest covered the parameters alone.
std::string as_version_2(const std::string& line) {
  const size_t end = std::min(line.find(' '), line.size());
  if (end == 0 || line[end - 1] != '8') return line;
  return "int8." + line.substr(0, end - 1) + line.substr(end);
}

// Before version 3 there was one input without a name, and it and all outputs were float32 of rank 4 or 2.
std::string as_version_3(const std::string& line, int number) {
  const Node node(line, number);
  const bool is_input = node.kind() == "input";
  if (!is_input && node.kind() != "output") return line;
  const int32_t rank = node.integer("rank", 2, 4);
  if (rank == 3) node.refuse("has rank 3");
  const std::string axes = rank == 4 ? "n,c,h,w" : "n,c", open = rank == 4 ? ",-1,-1" : "";
  if (!is_input) return "output from=" + node.text("from") + " dims=" + axes + " dtype=float32";
  return "input name=x dtype=float32 axes=" + axes + " dims=-1," +
         std::to_string(node.integer("channels", 1, 1 << 24)) + open;
}

int version_of(const std::string& line) {
  for (int version = 1; version <= kVersion; ++version)
    if (line == kFirstLine + std::to_string(version)) return version;
  fail("the plan must begin with '", kFirstLine, kVersion,
       "'; the model was converted by another version: convert it again");
}

}  // namespace

PlanHead parse_head(const std::string& text) {
  const std::vector<std::string> lines = split(text, '\n');
  const int version = version_of(lines.empty() ? "" : lines[0]);
  require(lines.size() >= 3, "the model's plan is cut off; the model file is damaged: convert it again");
  const Node line(lines[1], 2);
  if (line.kind() != (version == 1 ? "parameters" : "contents")) line.refuse("must be the digest");
  if (version == 1) return {1, line.text("digest"), ""};
  return {version, line.text("digest"), text.substr(lines[0].size() + lines[1].size() + 2)};
}

Plan parse_plan(const std::string& text) {
  const PlanHead head = parse_head(text);
  const std::vector<std::string> lines = split(text, '\n');
  Plan plan{head, {}, {}, {}};
  for (size_t i = 2; i < lines.size(); ++i) {
    const int number = static_cast<int>(i) + 1;
    const std::string line = head.version == 1 ? as_version_2(lines[i]) : lines[i];
    Node node(head.version < 3 ? as_version_3(line, number) : line, number);
    std::vector<Node>& section = node.kind() == "input"    ? plan.inputs
                                 : node.kind() == "output" ? plan.outputs
                                                           : plan.nodes;
    if (&section != &plan.outputs && !plan.outputs.empty()) node.refuse("follows an output");
    if (&section == &plan.inputs && !plan.nodes.empty()) node.refuse("follows a node");
    section.push_back(std::move(node));
  }
  require(!plan.inputs.empty() && !plan.outputs.empty(),
          "the model's plan has no input or no output; the model file is damaged: convert it again");
  if (head.version < 3 && plan.inputs.size() > 1) plan.inputs[1].refuse("is a second input");
  return plan;
}

}  // namespace paddle_unstructured
