// SPDX-License-Identifier: Apache-2.0
// The caller's tensors, of any rank and type, and the planes that they become and come from.
#pragma once

#include <string>
#include <vector>

#include "plan.h"
#include "strided.h"
#include "value.h"

namespace paddle_unstructured {

enum class Element : int32_t {  // as in api.h
  kFloat32 = 0,
  kInt16 = 1,
  kInt32 = 2,
  kInt8 = 3,
  kInt64 = 4,
  kBool = 5,
  kUint8 = 6,
  kFloat16 = 7,
  kFloat64 = 8
};

constexpr size_t kMostRank = 8;
constexpr int64_t kMostWhole = int64_t{1} << 24;  // float32 holds every whole number up to it

struct Tensor {
  Element element;
  std::vector<int64_t> dims;  // kUnknown where open
};

std::string describe(const Tensor& tensor);

// One `input` line: which of channels, height and width of the planes each axis of the tensor is. Several axes may make
// one of them, as [n, channels, depth, rows, columns] does, whose planes are depth * rows high.
class Input {
 public:
  explicit Input(const Node& node);

  const std::string& name() const { return name_; }
  const std::string& axes() const { return axes_; }
  const Tensor& declared() const { return declared_; }
  bool is_shared() const { return batch_axis_ < 0; }  // all samples read the same
  // Whether the planes lie in the tensor as they are, but for the padding of their rows.
  bool is_planar() const { return is_in_order_ && declared_.element == Element::kFloat32; }

  // Of a tensor that is given; refuses one that does not fit what is declared.
  Shape shape(const Tensor& given) const;
  int64_t batch(const Tensor& given) const;  // kUnknown if it is shared
  // Refuses numbers that float32 does not hold.
  void check_numbers(const Tensor& given, const void* data) const;
  void spread(const Context& context, const Tensor& given, const void* data, int64_t sample, const Value& to) const;

 private:
  [[noreturn]] void refuse(const Tensor& given) const;
  std::vector<Stride> axes_to(const Value& planes, const Tensor& given) const;  // but for that of samples

  std::string name_;
  Tensor declared_;
  std::string axes_;  // a letter for each: n, c, h, w, or 1 for one that is of extent 1
  int64_t batch_axis_;
  bool is_in_order_;
};

// One `output` line: the axes of the tensor, each a product of numbers and of n, c, h, w. The values of a sample keep
// the order in which planes hold them, unless h, w and c themselves are named in another.
class Output {
 public:
  Output(const Node& node, size_t values);

  size_t value() const { return value_; }
  Element element() const { return element_; }
  // Sizes may be kUnknown; refuses planes of another number of values.
  Tensor tensor(const Shape& shape, int64_t batch) const;
  // One sample of it; `is_lost`: its numbers are NaN, whatever the planes hold.
  void gather(const Context& context, const Value& from, int64_t batch, int64_t sample, bool is_lost, void* to) const;

 private:
  struct Factor {
    char letter;  // n, c, h, w; # for a number; * for what is left
    int64_t number;
    size_t axis;
  };
  void read_factor(const Node& node, const std::string& word, size_t axis);
  std::vector<int64_t> extents(const Shape& shape, int64_t batch) const;  // of each factor

  size_t value_;
  Element element_;
  size_t rank_ = 0;
  std::vector<Factor> factors_;
  bool is_in_order_ = true;
};

}  // namespace paddle_unstructured
