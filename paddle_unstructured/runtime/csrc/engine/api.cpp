// SPDX-License-Identifier: Apache-2.0
#include "api.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <stdexcept>

#include "model.h"

using paddle_unstructured::Array;
using paddle_unstructured::DType;
using paddle_unstructured::Model;
using paddle_unstructured::Network;
using paddle_unstructured::Output;
using paddle_unstructured::Parameters;
using paddle_unstructured::parse_head;
using paddle_unstructured::parse_plan;

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

void write_shapes(const std::vector<Output>& outputs, pu_shape* to) {
  for (const Output& output : outputs)
    *to++ = {output.shape.channels, output.shape.height, output.shape.width, output.rank};
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

pu_shape pu_model_input(const pu_model* model) {
  return {model->model.network().input_channels(), -1, -1, model->model.network().input_rank()};
}

int32_t pu_model_output_count(const pu_model* model) {
  return static_cast<int32_t>(model->model.network().outputs().size());
}

int32_t pu_model_infer(const pu_model* model, int64_t height, int64_t width, pu_shape* outputs, char* error,
                       int64_t error_size) {
  return guarded([&] { write_shapes(model->model.network().infer(height, width), outputs); }, error, error_size);
}

int32_t pu_model_run(const pu_model* model, const float* input, int64_t batch, int64_t height, int64_t width,
                     float* const* outputs, char* error, int64_t error_size) {
  return guarded(
      [&] {
        model->model.run(input, batch, height, width,
                         std::vector<float*>(outputs, outputs + pu_model_output_count(model)));
      },
      error, error_size);
}

pu_plan* pu_plan_create(const char* plan, char* error, int64_t error_size) {
  pu_plan* created = nullptr;
  guarded([&] { created = new pu_plan{Network(parse_plan(plan))}; }, error, error_size);
  return created;
}

void pu_plan_free(pu_plan* plan) { delete plan; }

int32_t pu_plan_output_count(const pu_plan* plan) { return static_cast<int32_t>(plan->network.outputs().size()); }

int32_t pu_plan_infer(const pu_plan* plan, int64_t height, int64_t width, pu_shape* outputs, char* error,
                      int64_t error_size) {
  return guarded([&] { write_shapes(plan->network.infer(height, width), outputs); }, error, error_size);
}

uint64_t pu_digest(const char* plan, const pu_array* arrays, int32_t array_count, char* error, int64_t error_size) {
  uint64_t digest = 0;
  guarded([&] { digest = parameters_of(arrays, array_count).digest(parse_head(plan)); }, error, error_size);
  return digest;
}
