// SPDX-License-Identifier: Apache-2.0
#include "api.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <stdexcept>

#include "model.h"

using paddle_unstructured::Array;
using paddle_unstructured::DType;
using paddle_unstructured::Element;
using paddle_unstructured::Given;
using paddle_unstructured::Model;
using paddle_unstructured::Network;
using paddle_unstructured::Parameters;
using paddle_unstructured::parse_head;
using paddle_unstructured::parse_plan;
using paddle_unstructured::Tensor;

struct pu_model {
  Model model;
};

struct pu_plan {
  Network network;
};

namespace {

void report(const char* message, char* error, int64_t error_size) {
  if (error == nullptr || error_size < 1) return;
  const size_t length = std::min(std::strlen(message), static_cast<size_t>(error_size) - 1);
  std::memcpy(error, message, length);
  error[length] = '\0';
}

template <typename Function>
int32_t guarded(const Function& function, char* error, int64_t error_size) noexcept {
  try {
    function();
    return 0;
  } catch (const std::exception& problem) {
    report(problem.what(), error, error_size);
  } catch (...) {
    report("unknown error", error, error_size);
  }
  return 1;
}

Tensor tensor_of(const pu_tensor& from) {
  if (from.rank < 0 || from.rank > PU_MOST_RANK) throw std::invalid_argument("a tensor has more than 8 axes");
  if (from.dtype < 0 || from.dtype > static_cast<int32_t>(Element::kFloat64))
    throw std::invalid_argument("a tensor has an unknown type");
  return {static_cast<Element>(from.dtype), std::vector<int64_t>(from.dims, from.dims + from.rank)};
}

std::vector<Tensor> tensors_of(const pu_tensor* from, int32_t count) {
  std::vector<Tensor> tensors;
  for (int32_t i = 0; i < count; ++i) tensors.push_back(tensor_of(from[i]));
  return tensors;
}

pu_tensor written(const Tensor& tensor) {
  pu_tensor to{static_cast<int32_t>(tensor.element), static_cast<int32_t>(tensor.dims.size()), {}};
  std::copy(tensor.dims.begin(), tensor.dims.end(), to.dims);
  return to;
}

void run(const pu_model* model, const pu_tensor* inputs, const void* const* data, int32_t count, void* const* outputs,
         int64_t* nanoseconds) {
  std::vector<Given> given;
  for (int32_t i = 0; i < count; ++i) given.push_back({tensor_of(inputs[i]), data[i]});
  model->model.run(given, std::vector<void*>(outputs, outputs + pu_model_output_count(model)), nanoseconds);
}

void write_outputs(const Network& network, const pu_tensor* inputs, int32_t count, pu_tensor* to) {
  for (const Tensor& tensor : network.infer(tensors_of(inputs, count))) *to++ = written(tensor);
}

Parameters parameters_of(const pu_array* arrays, int32_t count) {
  std::vector<Array> borrowed;
  for (int32_t i = 0; i < count; ++i) {
    if (arrays[i].dtype < 0 || arrays[i].dtype > 3) throw std::invalid_argument("a parameter has an unknown type");
    borrowed.push_back({static_cast<DType>(arrays[i].dtype), arrays[i].count, arrays[i].data});
  }
  return Parameters(std::move(borrowed));
}

}  // namespace

pu_model* pu_model_create(const char* plan, const pu_array* arrays, int32_t array_count, int32_t threads, char* error,
                          int64_t error_size) {
  pu_model* created = nullptr;
  guarded([&] { created = new pu_model{Model(plan, parameters_of(arrays, array_count), threads)}; }, error, error_size);
  return created;
}

void pu_model_free(pu_model* model) { delete model; }

const char* pu_model_isa(const pu_model* model) { return model->model.isa(); }

const char* pu_model_isa_int8(const pu_model* model) { return model->model.isa_int8(); }
const char* pu_model_isa_bf16(const pu_model* model) { return model->model.isa_bf16(); }

int32_t pu_model_input_count(const pu_model* model) {
  return static_cast<int32_t>(model->model.network().inputs().size());
}

const char* pu_model_input_name(const pu_model* model, int32_t input) {
  return model->model.network().inputs()[static_cast<size_t>(input)].name().c_str();
}

const char* pu_model_input_axes(const pu_model* model, int32_t input) {
  return model->model.network().inputs()[static_cast<size_t>(input)].axes().c_str();
}

pu_tensor pu_model_input(const pu_model* model, int32_t input) {
  return written(model->model.network().inputs()[static_cast<size_t>(input)].declared());
}

int32_t pu_model_output_count(const pu_model* model) {
  return static_cast<int32_t>(model->model.network().outputs().size());
}

int32_t pu_model_infer(const pu_model* model, const pu_tensor* inputs, int32_t input_count, pu_tensor* outputs,
                       char* error, int64_t error_size) {
  return guarded([&] { write_outputs(model->model.network(), inputs, input_count, outputs); }, error, error_size);
}

int32_t pu_model_run(const pu_model* model, const pu_tensor* inputs, const void* const* data, int32_t input_count,
                     void* const* outputs, char* error, int64_t error_size) {
  return guarded([&] { run(model, inputs, data, input_count, outputs, nullptr); }, error, error_size);
}

int32_t pu_model_step_count(const pu_model* model) {
  return static_cast<int32_t>(model->model.network().steps().size());
}

int32_t pu_model_profile(const pu_model* model, const pu_tensor* inputs, const void* const* data, int32_t input_count,
                         void* const* outputs, int64_t* nanoseconds, char* error, int64_t error_size) {
  return guarded([&] { run(model, inputs, data, input_count, outputs, nanoseconds); }, error, error_size);
}

pu_plan* pu_plan_create(const char* plan, char* error, int64_t error_size) {
  pu_plan* created = nullptr;
  guarded([&] { created = new pu_plan{Network(parse_plan(plan))}; }, error, error_size);
  return created;
}

void pu_plan_free(pu_plan* plan) { delete plan; }

int32_t pu_plan_output_count(const pu_plan* plan) { return static_cast<int32_t>(plan->network.outputs().size()); }

int32_t pu_plan_input_dtype(const pu_plan* plan, int32_t input) {
  const auto& inputs = plan->network.inputs();
  const auto which = static_cast<size_t>(input);
  return which < inputs.size() ? static_cast<int32_t>(inputs[which].declared().element) : 0;
}

int32_t pu_plan_output_dtype(const pu_plan* plan, int32_t output) {
  return static_cast<int32_t>(plan->network.outputs()[static_cast<size_t>(output)].element());
}

int32_t pu_plan_infer(const pu_plan* plan, const pu_tensor* inputs, int32_t input_count, pu_tensor* outputs,
                      char* error, int64_t error_size) {
  return guarded([&] { write_outputs(plan->network, inputs, input_count, outputs); }, error, error_size);
}

uint64_t pu_digest(const char* plan, const pu_array* arrays, int32_t array_count, char* error, int64_t error_size) {
  uint64_t digest = 0;
  guarded([&] { digest = parameters_of(arrays, array_count).digest(parse_head(plan)); }, error, error_size);
  return digest;
}
