// SPDX-License-Identifier: Apache-2.0
// Runs a converted model from C++: no Python, no Paddle. `bash examples/cpp/build.sh`, then
//
//     ./run_model MODEL HEIGHT WIDTH [THREADS]
//
// MODEL is the prefix of the .json and .pdiparams that `python -m paddle_unstructured accelerate` wrote for a model
// that is converted whole. The input is a plane of zeros with a one in the middle of each channel; the outputs are
// printed.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "api.h"

namespace {

std::string read_file(const std::string& name) {
  std::ifstream stream(name, std::ios::binary);
  if (!stream) throw std::runtime_error("cannot read " + name);
  return {std::istreambuf_iterator<char>(stream), {}};
}

// The attribute "plan" of the one operator in the Program: a JSON string, of which only \n, \" and \\ are escaped.
std::string plan_of(const std::string& json) {
  const size_t name = json.find("\"N\":\"plan\"");
  const std::string mark = "\"D\":\"";
  const size_t begin = name == std::string::npos ? name : json.rfind(mark, name);
  if (begin == std::string::npos) throw std::runtime_error("no plan in the .json: was the model converted whole?");
  std::string plan;
  for (size_t i = begin + mark.size(); i < json.size() && json[i] != '"'; ++i) {
    if (json[i] == '\\')
      plan += json[++i] == 'n' ? '\n' : json[i];
    else
      plan += json[i];
  }
  return plan;
}

template <typename T>
T take(const std::string& bytes, size_t* at) {
  if (bytes.size() - *at < sizeof(T)) throw std::runtime_error("the .pdiparams is cut short");
  T value;
  bytes.copy(reinterpret_cast<char*>(&value), sizeof(T), *at);
  *at += sizeof(T);
  return value;
}

uint64_t take_varint(const std::string& bytes, size_t* at) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const uint8_t byte = take<uint8_t>(bytes, at);
    value |= uint64_t(byte & 127) << shift;
    if (byte < 128) break;
  }
  return value;
}

// Tensors, one after the other, in the order in which the plan counts them: u32, u64, u32, the size of a protobuf
// message (field 1: type, field 2: an extent, as often as there are dimensions), the message, the values.
std::vector<pu_array> arrays_of(const std::string& bytes, std::vector<std::vector<char>>* values) {
  std::vector<pu_array> arrays;
  for (size_t at = 0; at < bytes.size();) {
    take<uint32_t>(bytes, &at), take<uint64_t>(bytes, &at), take<uint32_t>(bytes, &at);
    const size_t end = take<int32_t>(bytes, &at) + at;
    uint64_t type = 0, count = 1;
    while (at < end) {
      const uint64_t field = take_varint(bytes, &at), value = take_varint(bytes, &at);
      if (field == 8)
        type = value;
      else
        count *= value;
    }
    struct Type {
      uint64_t paddle;
      int32_t ours;
      size_t size;
    };
    for (const Type known : {Type{5, 0, 4}, Type{1, 1, 2}, Type{2, 2, 4}, Type{21, 3, 1}}) {
      if (known.paddle != type) continue;
      if (count > (bytes.size() - at) / known.size) throw std::runtime_error("the .pdiparams is cut short");
      values->emplace_back(bytes.begin() + at, bytes.begin() + at + count * known.size);  // aligned, unlike the file
      arrays.push_back({known.ours, int64_t(count), values->back().data()});
      at += count * known.size;
      type = ~0ull;
    }
    if (type != ~0ull) throw std::runtime_error("the .pdiparams has a tensor of another type than a plan takes");
  }
  return arrays;
}

int run(const std::string& prefix, int64_t height, int64_t width, int32_t threads) {
  const std::string plan = plan_of(read_file(prefix + ".json")), bytes = read_file(prefix + ".pdiparams");
  std::vector<std::vector<char>> stored;
  const std::vector<pu_array> arrays = arrays_of(bytes, &stored);
  char error[1024] = "";
  pu_model* const model =
      pu_model_create(plan.c_str(), arrays.data(), int32_t(arrays.size()), threads, error, sizeof error);
  if (model == nullptr) throw std::runtime_error(error);

  if (pu_model_input_count(model) != 1) throw std::runtime_error("the model has several inputs");
  pu_tensor input = pu_model_input(model, 0);
  if (input.dtype != 0 || input.rank != 4) throw std::runtime_error("the model's input is not a float32 image");
  const int64_t channels = input.dims[1];
  input.dims[0] = 1, input.dims[2] = height, input.dims[3] = width;
  std::vector<pu_tensor> made(pu_model_output_count(model));
  if (pu_model_infer(model, &input, 1, made.data(), error, sizeof error)) throw std::runtime_error(error);
  std::vector<float> image(channels * height * width, 0.0f);
  for (int64_t c = 0; c < channels; ++c) image[(c * height + height / 2) * width + width / 2] = 1.0f;
  std::vector<std::vector<float>> values;
  std::vector<void*> outputs;
  for (const pu_tensor& each : made) {
    if (each.dtype != 0) throw std::runtime_error("an output of the model is not float32");
    int64_t count = 1;
    for (int32_t i = 0; i < each.rank; ++i) count *= each.dims[i];
    values.emplace_back(count);
  }
  for (std::vector<float>& value : values) outputs.push_back(value.data());
  const void* const data[] = {image.data()};
  if (pu_model_run(model, &input, data, 1, outputs.data(), error, sizeof error)) throw std::runtime_error(error);
  std::fprintf(stderr, "ran with %s\n", pu_model_isa(model));
  for (const std::vector<float>& value : values) {
    for (const float number : value) std::printf("%.9g ", number);
    std::printf("\n");
  }
  pu_model_free(model);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  bool usable = argc == 4 || argc == 5;
  for (int i = 2; usable && i < argc; ++i) usable = std::atoi(argv[i]) > 0;
  if (!usable) return std::fprintf(stderr, "usage: %s MODEL HEIGHT WIDTH [THREADS], numbers above 0\n", argv[0]), 2;
  try {
    return run(argv[1], std::atoi(argv[2]), std::atoi(argv[3]), argc > 4 ? std::atoi(argv[4]) : 1);
  } catch (const std::exception& error) {
    return std::fprintf(stderr, "%s\n", error.what()), 1;
  }
}
