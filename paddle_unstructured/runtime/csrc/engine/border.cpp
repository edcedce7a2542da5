// SPDX-License-Identifier: Apache-2.0
#include "border.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <sstream>
#include <type_traits>

#include "error.h"

namespace paddle_unstructured {
namespace {

constexpr char kOrder[] = "nchw";

struct NamedElement {
  const char* name;
  Element element;
};

const NamedElement kElements[] = {
    {"float32", Element::kFloat32}, {"float16", Element::kFloat16}, {"float64", Element::kFloat64},
    {"int8", Element::kInt8},       {"int16", Element::kInt16},     {"int32", Element::kInt32},
    {"int64", Element::kInt64},     {"uint8", Element::kUint8},     {"bool", Element::kBool}};

// A number of 16 bits: a sign, 5 bits of exponent, 10 of fraction.
struct Half {
  uint16_t bits;

  explicit operator float() const {
    const uint32_t sign = uint32_t{bits & 0x8000u} << 16, exponent = (bits >> 10) & 31u, fraction = bits & 1023u;
    if (exponent == 0) {  // fraction * 2^-24
      const float least = std::ldexp(static_cast<float>(fraction), -24);
      return sign != 0 ? -least : least;
    }
    const uint32_t word = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13;
    float number = 0;
    std::memcpy(&number, &word, sizeof number);
    return number;
  }

  // The nearest one; of two the even one.
  static Half of(float number) {
    uint32_t word = 0;
    std::memcpy(&word, &number, sizeof word);
    const auto sign = static_cast<uint16_t>((word >> 16) & 0x8000u);
    word &= 0x7fffffffu;
    if (word > 0x7f800000u) return {static_cast<uint16_t>(sign | 0x7e00u)};
    if (word >= 0x477ff000u) return {static_cast<uint16_t>(sign | 0x7c00u)};
    if (word < 0x38800000u) {  // below 2^-14: whole multiples of 2^-24
      const auto steps = static_cast<uint16_t>(std::nearbyint(std::ldexp(std::fabs(number), 24)));
      return {static_cast<uint16_t>(sign | steps)};
    }
    const uint32_t rounded = word - 0x38000000u + 0xfffu + ((word >> 13) & 1u);
    return {static_cast<uint16_t>(sign | rounded >> 13)};
  }
};

Element read_element(const Node& node) {
  for (const NamedElement& known : kElements)
    if (node.text("dtype") == known.name) return known.element;
  node.refuse("has an unknown dtype: " + node.text("dtype"));
}

bool is_one_of(char letter, const char* letters) { return std::string(letters).find(letter) != std::string::npos; }

// Whether the letters that are axes of planes ascend: n, c, h, w.
bool ascends(const std::string& letters) {
  const std::string order(kOrder);
  size_t last = 0;
  for (const char letter : letters) {
    const size_t place = order.find(letter);
    if (place == std::string::npos) continue;
    if (place < last) return false;
    last = place;
  }
  return true;
}

// kUnknown if one of them is; refuses what no index could count.
int64_t product(int64_t a, int64_t b) {
  if (a == kUnknown || b == kUnknown) return kUnknown;
  int64_t both = 0;
  require(!__builtin_mul_overflow(a, b, &both), "the input is too large for this model; give a smaller one");
  return both;
}

std::vector<int64_t> strides_of(const std::vector<int64_t>& extents) {
  std::vector<int64_t> strides(extents.size(), 1);
  for (size_t i = extents.size(); i-- > 1;) strides[i - 1] = product(strides[i], extents[i]);
  return strides;
}

// As copy_strided, with a conversion of each number; the axes from `axis` on.
template <typename From, typename To, typename Convert>
void copy_converted(const std::vector<Stride>& axes, const From* from, To* to, const Convert& convert,
                    size_t axis = 0) {
  const Stride& one = axes[axis];
  if (axis + 1 < axes.size()) {
    for (int64_t i = 0; i < one.extent; ++i)
      copy_converted(axes, from + i * one.from, to + i * one.to, convert, axis + 1);
  } else {
    for (int64_t i = 0; i < one.extent; ++i) to[i * one.to] = convert(from[i * one.from]);
  }
}

template <typename T>
void check_whole(const std::string& name, const T* data, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    require(data[i] >= -kMostWhole && data[i] <= kMostWhole, "the input ", name, " has ", data[i],
            ", where the runtime holds whole numbers up to ", kMostWhole);
}

// Calls function(typed pointer) for the type that `data` has.
template <typename Function>
void with_type(Element element, const void* data, const Function& function) {
  switch (element) {
    case Element::kFloat32:
      return function(static_cast<const float*>(data));
    case Element::kFloat16:
      return function(static_cast<const Half*>(data));
    case Element::kFloat64:
      return function(static_cast<const double*>(data));
    case Element::kInt8:
      return function(static_cast<const int8_t*>(data));
    case Element::kInt16:
      return function(static_cast<const int16_t*>(data));
    case Element::kUint8:
      return function(static_cast<const uint8_t*>(data));
    case Element::kInt32:
      return function(static_cast<const int32_t*>(data));
    case Element::kInt64:
      return function(static_cast<const int64_t*>(data));
    case Element::kBool:
      return function(static_cast<const bool*>(data));
  }
}

template <typename T>
T from_float(float number) {
  if constexpr (std::is_floating_point_v<T>) {
    return number;
  } else if constexpr (std::is_same_v<T, Half>) {
    return Half::of(number);
  } else if constexpr (std::is_same_v<T, bool>) {
    return number != 0;
  } else {
    const double real = std::isnan(number) ? 0 : double{number};
    if (real >= static_cast<double>(std::numeric_limits<T>::max())) return std::numeric_limits<T>::max();
    if (real <= static_cast<double>(std::numeric_limits<T>::min())) return std::numeric_limits<T>::min();
    return static_cast<T>(real);
  }
}

}  // namespace

std::string describe(const Tensor& tensor) {
  std::ostringstream text;
  for (const NamedElement& known : kElements)
    if (known.element == tensor.element) text << known.name;
  text << " [";
  for (size_t i = 0; i < tensor.dims.size(); ++i) {
    text << (i == 0 ? "" : ", ");
    if (tensor.dims[i] == kUnknown)
      text << "?";
    else
      text << tensor.dims[i];
  }
  text << "]";
  return text.str();
}

Input::Input(const Node& node) : name_(node.text("name")), declared_{read_element(node), node.integers("dims")} {
  for (const std::string& axis : split(node.text("axes"), ',')) {
    if (axis.size() != 1 || !is_one_of(axis[0], "nchw1")) node.refuse("has an unknown axis: " + axis);
    axes_ += axis;
  }
  const std::vector<int64_t>& dims = declared_.dims;
  if (axes_.size() != dims.size() || dims.size() > kMostRank) node.refuse("has not as many axes as dims, at most 8");
  if (std::count(axes_.begin(), axes_.end(), 'n') > 1) node.refuse("has more than one axis of samples");
  for (size_t axis = 0; axis < dims.size(); ++axis) {
    const bool is_fixed = axes_[axis] == '1', is_batch = axes_[axis] == 'n';
    if (dims[axis] != kUnknown && (dims[axis] < 1 || dims[axis] > kLargest)) node.refuse("has dims out of range");
    if ((is_fixed && dims[axis] != 1) || (is_batch && dims[axis] != kUnknown)) node.refuse("has dims out of place");
  }
  const size_t batch_axis = axes_.find('n');
  batch_axis_ = batch_axis == std::string::npos ? -1 : static_cast<int64_t>(batch_axis);
  is_in_order_ = ascends(axes_);
  for (const int64_t extent : {shape(declared_).channels, shape(declared_).height, shape(declared_).width})
    if (extent > kLargest) node.refuse("has dims out of range");
}

void Input::refuse(const Tensor& given) const {
  fail("the input ", name_, " must be ", describe(declared_), ", got ", describe(given));
}

Shape Input::shape(const Tensor& given) const {
  if (given.element != declared_.element || given.dims.size() != declared_.dims.size()) refuse(given);
  Shape shape{1, 1, 1};
  for (size_t axis = 0; axis < axes_.size(); ++axis) {
    const int64_t extent = given.dims[axis];
    const bool is_empty = extent == 0 && axes_[axis] != 'n';
    if (!may_equal(extent, declared_.dims[axis]) || is_empty || extent < kUnknown) refuse(given);
    if (axes_[axis] == 'c') shape.channels = product(shape.channels, extent);
    if (axes_[axis] == 'h') shape.height = product(shape.height, extent);
    if (axes_[axis] == 'w') shape.width = product(shape.width, extent);
  }
  return shape;
}

int64_t Input::batch(const Tensor& given) const {
  return is_shared() ? kUnknown : given.dims[static_cast<size_t>(batch_axis_)];
}

void Input::check_numbers(const Tensor& given, const void* data) const {
  int64_t count = 1;
  for (const int64_t extent : given.dims) count = product(count, extent);
  if (given.element == Element::kInt32) check_whole(name_, static_cast<const int32_t*>(data), count);
  if (given.element == Element::kInt64) check_whole(name_, static_cast<const int64_t*>(data), count);
  if (given.element == Element::kFloat64) {
    const auto* const numbers = static_cast<const double*>(data);
    for (int64_t i = 0; i < count; ++i)
      require(!std::isfinite(numbers[i]) || std::isfinite(static_cast<float>(numbers[i])), "the input ", name_, " has ",
              numbers[i], ", where the runtime holds float32 numbers");
  }
}

std::vector<Stride> Input::axes_to(const Value& planes, const Tensor& given) const {
  const std::vector<int64_t> strides = strides_of(given.dims);
  std::vector<Stride> found;
  int64_t channel = planes.pitch(), row = planes.shape.width, column = 1;  // between neighbours of the next such axis
  for (size_t axis = axes_.size(); axis-- > 0;) {
    const char letter = axes_[axis];
    if (letter == 'n' || letter == '1') continue;
    int64_t& to = letter == 'c' ? channel : letter == 'h' ? row : column;
    found.push_back({given.dims[axis], strides[axis], to});
    to *= given.dims[axis];
  }
  std::sort(found.begin(), found.end(), [](const Stride& a, const Stride& b) { return a.to > b.to; });
  return found;
}

void Input::spread(const Context& context, const Tensor& given, const void* data, int64_t sample,
                   const Value& to) const {
  const int64_t pixels = to.shape.pixels();
  with_type(given.element, data, [&](const auto* from) {
    const auto number = [](auto x) { return static_cast<float>(x); };
    if (is_in_order_) {
      from += is_shared() ? 0 : sample * to.shape.values();
      for (int64_t channel = 0; channel < to.shape.channels; ++channel, from += pixels)
        std::transform(from, from + pixels, to.channel(channel), number);
      return;
    }
    if (!is_shared()) from += sample * strides_of(given.dims)[static_cast<size_t>(batch_axis_)];
    const std::vector<Stride> axes = axes_to(to, given);
    if constexpr (std::is_same_v<decltype(from), const float*>)
      copy_strided(context, axes, from, to.data);
    else
      copy_converted(axes, from, to.floats(), number);
  });
}

Output::Output(const Node& node, size_t values)
    : value_(static_cast<size_t>(node.integers("from")[0])),
      element_(read_element(node)) {
  const int64_t from = node.integers("from")[0];
  if (from < 0 || static_cast<size_t>(from) >= values) node.refuse("reads a value that is not made before it");
  for (const std::string& axis : split(node.text("dims"), ',')) {
    const std::vector<std::string> words = axis == "-1" ? std::vector<std::string>{axis} : split(axis, '*');
    if (words.empty()) node.refuse("has an axis that is none: " + node.text("dims"));
    for (const std::string& word : words) read_factor(node, word, rank_);
    ++rank_;
  }
  if (rank_ > kMostRank) node.refuse("has more than 8 axes");
  std::string letters;
  for (const Factor& factor : factors_) letters += factor.letter;
  for (const char letter : {'n', 'c', 'h', 'w', '*'})
    if (std::count(letters.begin(), letters.end(), letter) > 1) node.refuse("names an axis twice");
  if (letters.find('n') == std::string::npos) node.refuse("has no axis of samples");
  letters.erase(letters.find('n'), 1);
  is_in_order_ = ascends(letters);
  for (const Factor& factor : factors_)
    if (!is_in_order_ && (factor.letter == '*' || (factor.letter == '#' && factor.number != 1)))
      node.refuse("has axes in another order together with numbers");
}

void Output::read_factor(const Node& node, const std::string& word, size_t axis) {
  if (word == "-1") return factors_.push_back({'*', 0, axis});
  if (word.size() == 1 && is_one_of(word[0], kOrder)) return factors_.push_back({word[0], 0, axis});
  char* end = nullptr;
  const int64_t number = std::strtoll(word.c_str(), &end, 10);
  if (word.empty() || *end != '\0' || number < 1 || number > kLargest)
    node.refuse("has an axis that is none: " + node.text("dims"));
  factors_.push_back({'#', number, axis});
}

std::vector<int64_t> Output::extents(const Shape& shape, int64_t batch) const {
  std::vector<int64_t> found;
  int64_t known = 1;
  size_t rest = factors_.size();
  for (size_t i = 0; i < factors_.size(); ++i) {
    const Factor& factor = factors_[i];
    found.push_back(factor.letter == 'n'   ? batch
                    : factor.letter == 'c' ? shape.channels
                    : factor.letter == 'h' ? shape.height
                    : factor.letter == 'w' ? shape.width
                    : factor.letter == '#' ? factor.number
                                           : kUnknown);
    if (factor.letter == '*')
      rest = i;
    else if (factor.letter != 'n')
      known = product(known, found.back());
  }
  const int64_t values = shape.values();
  if (values == kUnknown || known == kUnknown) return found;
  if (rest < factors_.size()) found[rest] = known > 0 ? values / known : 0;
  require(known > 0 && (rest < factors_.size() ? values % known == 0 : values == known),
          "an output of another size than its plan says; give an input of the size that the model was made for");
  return found;
}

Tensor Output::tensor(const Shape& shape, int64_t batch) const {
  const std::vector<int64_t> found = extents(shape, batch);
  Tensor tensor{element_, std::vector<int64_t>(rank_, 1)};
  for (size_t i = 0; i < factors_.size(); ++i)
    tensor.dims[factors_[i].axis] = product(tensor.dims[factors_[i].axis], found[i]);
  return tensor;
}

void Output::gather(const Context& context, const Value& from, int64_t batch, int64_t sample, bool is_lost,
                    void* to) const {
  const std::vector<int64_t> found = extents(from.shape, batch), strides = strides_of(found);
  int64_t of_sample = 0, of_channel = 0, of_row = 0, of_column = 0;
  for (size_t i = 0; i < factors_.size(); ++i) {
    if (factors_[i].letter == 'n') of_sample = strides[i];
    if (factors_[i].letter == 'c') of_channel = strides[i];
    if (factors_[i].letter == 'h') of_row = strides[i];
    if (factors_[i].letter == 'w') of_column = strides[i];
  }
  const int64_t pixels = from.shape.pixels(), width = from.shape.width;
  const std::vector<Stride> axes{
      {from.shape.channels, from.pitch(), of_channel}, {from.shape.height, width, of_row}, {width, 1, of_column}};
  with_type(element_, to, [&](const auto* typed) {
    using T = std::remove_cv_t<std::remove_reference_t<decltype(*typed)>>;
    T* const target = const_cast<T*>(typed);
    const auto number = [&](float x) { return from_float<T>(is_lost ? std::numeric_limits<float>::quiet_NaN() : x); };
    if (!is_in_order_ && std::is_same_v<T, float> && !is_lost)
      return copy_strided(context, axes, from.floats(), target + sample * of_sample);
    if (!is_in_order_) return copy_converted(axes, from.floats(), target + sample * of_sample, number);
    for (int64_t channel = 0; channel < from.shape.channels; ++channel) {
      const float* const plane = from.channel(channel);
      // What lies before the axis of samples comes in pieces of `of_sample` values.
      for (int64_t pixel = 0; pixel < pixels;) {
        const int64_t at = channel * pixels + pixel, within = at % of_sample;
        const int64_t count = std::min(pixels - pixel, of_sample - within);
        T* const piece = target + (at / of_sample * batch + sample) * of_sample + within;
        std::transform(plane + pixel, plane + pixel + count, piece, number);
        pixel += count;
      }
    }
  });
}

}  // namespace paddle_unstructured
