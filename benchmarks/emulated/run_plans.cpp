// SPDX-License-Identifier: Apache-2.0
// Plans with their inputs and what must come out, run without Python: for processors that are emulated or far away.
//
//     run_plans TIMES FILE...
//
// A file holds cases (plan_files.py writes them), one behind the other; whole numbers are int64:
//
//     plan      bytes, text
//     arrays    how many, then for each: dtype, count, data
//     inputs    how many, then for each: dtype, rank, dims, data
//     outputs   the same
//     most      float64: 0, or the largest difference as a fraction of the largest number
//     threads
//
// Prints "<failed> of <cases> failed on <float32 set> and <int8 set>, largest difference <d>"; exit code 1 if any did.
// Each case runs TIMES times: what two numbers of times differ by, in instructions, is what a run takes.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "engine/api.h"

namespace {

constexpr int64_t kErrorBytes = 2048;

int64_t bytes_of(int32_t dtype) {  // of one element: float32, int16, int32, int8, int64, bool, uint8, float16, float64
  constexpr int64_t kBytes[] = {4, 2, 4, 1, 8, 1, 1, 2, 8};
  return kBytes[dtype];
}

class Reader {
 public:
  explicit Reader(const std::string& path) : file_(path, std::ios::binary) {
    if (!file_) fail("cannot read " + path);
  }

  bool at_end() { return file_.peek() == std::ifstream::traits_type::eof(); }

  template <typename T>
  T number() {
    T value{};
    take(&value, sizeof value);
    return value;
  }

  std::vector<char> bytes(int64_t count) {
    std::vector<char> data(static_cast<size_t>(count));
    take(data.data(), data.size());
    return data;
  }

  [[noreturn]] static void fail(const std::string& what) {
    std::fprintf(stderr, "%s\n", what.c_str());
    std::exit(2);
  }

 private:
  void take(void* to, size_t bytes) {
    if (!file_.read(static_cast<char*>(to), static_cast<std::streamsize>(bytes))) fail("a file ends too early");
  }

  std::ifstream file_;
};

struct Tensor {
  pu_tensor is;
  std::vector<char> data;

  int64_t count() const {
    int64_t all = 1;
    for (int32_t i = 0; i < is.rank; ++i) all *= is.dims[i];
    return all;
  }
};

std::vector<Tensor> read_tensors(Reader& from) {
  std::vector<Tensor> all(static_cast<size_t>(from.number<int64_t>()));
  for (Tensor& each : all) {
    each.is = {};
    each.is.dtype = static_cast<int32_t>(from.number<int64_t>());
    each.is.rank = static_cast<int32_t>(from.number<int64_t>());
    for (int32_t i = 0; i < each.is.rank; ++i) each.is.dims[i] = from.number<int64_t>();
    each.data = from.bytes(each.count() * bytes_of(each.is.dtype));
  }
  return all;
}

// The largest difference as a fraction of the largest number; infinite where only one of two is a NaN or infinite.
double difference(const std::vector<float>& got, const std::vector<float>& expected) {
  double most = 0, apart = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const float a = got[i], b = expected[i];
    if (a == b || (std::isnan(a) && std::isnan(b))) {
      if (std::isfinite(b)) most = std::fmax(most, std::fabs(double{b}));
      continue;
    }
    if (!std::isfinite(a) || !std::isfinite(b)) return INFINITY;
    most = std::fmax(most, std::fabs(double{b}));
    apart = std::fmax(apart, std::fabs(double{a} - double{b}));
  }
  return apart == 0 ? 0 : apart / std::fmax(most, 1e-30);
}

double difference(const std::vector<char>& got, const Tensor& expected) {
  if (expected.is.dtype != 0) return got == expected.data ? 0 : INFINITY;
  std::vector<float> a(got.size() / sizeof(float)), b(a.size());
  std::memcpy(a.data(), got.data(), got.size());
  std::memcpy(b.data(), expected.data.data(), got.size());
  return difference(a, b);
}

struct Result {
  double difference;
  std::string isa, isa_int8, error;
};

Result run_case(Reader& from, int times) {
  const std::vector<char> text = from.bytes(from.number<int64_t>());
  const std::string plan(text.begin(), text.end());
  std::vector<std::vector<char>> data;
  std::vector<pu_array> arrays(static_cast<size_t>(from.number<int64_t>()));
  for (pu_array& each : arrays) {
    each.dtype = static_cast<int32_t>(from.number<int64_t>());
    each.count = from.number<int64_t>();
    data.push_back(from.bytes(each.count * bytes_of(each.dtype)));
    each.data = data.back().data();
  }
  const std::vector<Tensor> inputs = read_tensors(from), expected = read_tensors(from);
  const auto most = from.number<double>();
  const auto threads = static_cast<int32_t>(from.number<int64_t>());

  char error[kErrorBytes] = "";
  pu_model* model =
      pu_model_create(plan.c_str(), arrays.data(), static_cast<int32_t>(arrays.size()), threads, error, kErrorBytes);
  if (model == nullptr) return {INFINITY, "", "", error};
  Result result{0, pu_model_isa(model), pu_model_isa_int8(model), ""};
  std::vector<pu_tensor> given, made(expected.size());
  std::vector<const void*> sources;
  std::vector<std::vector<char>> outputs;
  std::vector<void*> targets;
  const auto count = static_cast<int32_t>(inputs.size());
  for (const Tensor& each : inputs) {
    given.push_back(each.is);
    sources.push_back(each.data.data());
  }
  bool good = pu_model_output_count(model) == static_cast<int32_t>(expected.size()) &&
              pu_model_infer(model, given.data(), count, made.data(), error, kErrorBytes) == 0;
  for (size_t i = 0; good && i < expected.size(); ++i) {
    outputs.emplace_back(expected[i].data.size());
    good = made[i].dtype == expected[i].is.dtype && made[i].rank == expected[i].is.rank &&
           std::memcmp(made[i].dims, expected[i].is.dims, sizeof(int64_t) * static_cast<size_t>(made[i].rank)) == 0;
  }
  for (std::vector<char>& each : outputs) targets.push_back(each.data());
  for (int i = 0; good && i < times; ++i)
    good = pu_model_run(model, given.data(), sources.data(), count, targets.data(), error, kErrorBytes) == 0;
  pu_model_free(model);
  result.error = error;
  if (!good) result.difference = INFINITY;
  for (size_t i = 0; good && i < expected.size(); ++i)
    result.difference = std::fmax(result.difference, difference(outputs[i], expected[i]));
  if (result.error.empty() && !(result.difference <= most))
    result.error = "differs by " + std::to_string(result.difference) + " in\n" + plan;
  return result;
}

}  // namespace

int main(int count, char** words) {
  if (count < 3) Reader::fail("usage: run_plans TIMES FILE...");
  int cases = 0, failed = 0;
  Result last{};
  double largest = 0;
  for (int i = 2; i < count; ++i) {
    Reader file(words[i]);
    for (int place = 0; !file.at_end(); ++place, ++cases) {
      last = run_case(file, std::atoi(words[1]));
      if (std::isfinite(last.difference)) largest = std::fmax(largest, last.difference);
      if (last.error.empty()) continue;
      ++failed;
      std::printf("%s, case %d: %s\n", words[i], place, last.error.c_str());
    }
  }
  std::printf("%d of %d failed on %s and %s, largest difference %g\n", failed, cases, last.isa.c_str(),
              last.isa_int8.c_str(), largest);
  return failed == 0 ? 0 : 1;
}
