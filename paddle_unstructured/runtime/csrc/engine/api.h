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

typedef struct {
  int64_t channels, height, width;  // of one sample; -1 where it depends on an unknown size
  int32_t rank;                     // 4: [n, channels, height, width]; 2: [n, channels]
} pu_shape;

// Returns null after an error, and its message in `error`, cut to `error_size` bytes. The arrays are copied.
PU_API pu_model* pu_model_create(const char* plan, const pu_array* arrays, int32_t array_count, int32_t threads,
                                 char* error, int64_t error_size);
PU_API void pu_model_free(pu_model* model);

// The instruction sets of its kernels, for float32 and for int8.
PU_API const char* pu_model_isa(const pu_model* model);
PU_API const char* pu_model_isa_int8(const pu_model* model);
PU_API pu_shape pu_model_input(const pu_model* model);  // height and width are -1
PU_API int32_t pu_model_output_count(const pu_model* model);

// Height and width may be -1. The functions below return 0, or 1 after an error.
PU_API int32_t pu_model_infer(const pu_model* model, int64_t height, int64_t width, pu_shape* outputs, char* error,
                              int64_t error_size);

// May be called from several threads at once. outputs[i] has room for batch * channels * height * width floats.
PU_API int32_t pu_model_run(const pu_model* model, const float* input, int64_t batch, int64_t height, int64_t width,
                            float* const* outputs, char* error, int64_t error_size);

// The same from the plan alone, without its arrays. Errors as above.
PU_API pu_plan* pu_plan_create(const char* plan, char* error, int64_t error_size);
PU_API void pu_plan_free(pu_plan* plan);
PU_API int32_t pu_plan_output_count(const pu_plan* plan);
PU_API int32_t pu_plan_infer(const pu_plan* plan, int64_t height, int64_t width, pu_shape* outputs, char* error,
                             int64_t error_size);

// What the word `digest` of a plan must be, for its other lines and these arrays. 0 and a message after an error.
PU_API uint64_t pu_digest(const char* plan, const pu_array* arrays, int32_t array_count, char* error,
                          int64_t error_size);

#ifdef __cplusplus
}
#endif
