// SPDX-License-Identifier: Apache-2.0
// The library's interface: plain C, so that ctypes and the Paddle operator enter alike. No exception leaves it.
#pragma once

#include <stdint.h>

#define PU_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pu_model pu_model;
typedef struct pu_plan pu_plan;

typedef struct {
  int32_t dtype;  // 0 float32, 1 int16, 2 int32, 3 int8
  int64_t count;
  const void* data;
} pu_array;

#define PU_MOST_RANK 8

typedef struct {
  int32_t dtype;  // 0 float32, 1 int16, 2 int32, 3 int8, 4 int64, 5 bool, 6 uint8, 7 float16, 8 float64
  int32_t rank;
  int64_t dims[PU_MOST_RANK];  // -1 where open, or dependent on what is open
} pu_tensor;

// Returns null after an error, and its message in `error`, cut to `error_size` bytes. The arrays are copied.
PU_API pu_model* pu_model_create(const char* plan, const pu_array* arrays, int32_t array_count, int32_t threads,
                                 char* error, int64_t error_size);
PU_API void pu_model_free(pu_model* model);

// The instruction sets of its kernels, for float32 and for int8.
PU_API const char* pu_model_isa(const pu_model* model);
PU_API const char* pu_model_isa_int8(const pu_model* model);
PU_API const char* pu_model_isa_bf16(const pu_model* model);
PU_API int32_t pu_model_input_count(const pu_model* model);
PU_API const char* pu_model_input_name(const pu_model* model, int32_t input);
PU_API const char* pu_model_input_axes(const pu_model* model, int32_t input);  // a letter for each: n, c, h, w or 1
PU_API pu_tensor pu_model_input(const pu_model* model, int32_t input);         // as declared
PU_API int32_t pu_model_output_count(const pu_model* model);

// From the inputs' tensors to the outputs'. The functions below return 0, or 1 after an error.
PU_API int32_t pu_model_infer(const pu_model* model, const pu_tensor* inputs, int32_t input_count, pu_tensor* outputs,
                              char* error, int64_t error_size);

// May be called from several threads at once. data[i] is what inputs[i] describes; outputs[i] has room for what
// pu_model_infer says.
PU_API int32_t pu_model_run(const pu_model* model, const pu_tensor* inputs, const void* const* data,
                            int32_t input_count, void* const* outputs, char* error, int64_t error_size);

// How many steps a run has, one for each node of the plan; and a run that says how long each took, in nanoseconds over
// all samples: 0 for a step whose work a later one does. Of samples that threads share, each thread's part counts.
PU_API int32_t pu_model_step_count(const pu_model* model);
PU_API int32_t pu_model_profile(const pu_model* model, const pu_tensor* inputs, const void* const* data,
                                int32_t input_count, void* const* outputs, int64_t* nanoseconds, char* error,
                                int64_t error_size);

// What pu_model_infer says from the plan alone, without its arrays. Errors as above.
PU_API pu_plan* pu_plan_create(const char* plan, char* error, int64_t error_size);
PU_API void pu_plan_free(pu_plan* plan);
PU_API int32_t pu_plan_input_dtype(const pu_plan* plan, int32_t input);  // 0 if there is no such input
PU_API int32_t pu_plan_output_count(const pu_plan* plan);
PU_API int32_t pu_plan_output_dtype(const pu_plan* plan, int32_t output);
PU_API int32_t pu_plan_infer(const pu_plan* plan, const pu_tensor* inputs, int32_t input_count, pu_tensor* outputs,
                             char* error, int64_t error_size);

// What the word `digest` of a plan must be, for its other lines and these arrays. 0 and a message after an error.
PU_API uint64_t pu_digest(const char* plan, const pu_array* arrays, int32_t array_count, char* error,
                          int64_t error_size);

#ifdef __cplusplus
}
#endif
