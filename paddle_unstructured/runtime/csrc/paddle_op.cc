// SPDX-License-Identifier: Apache-2.0
// The Paddle operator: a whole net as one op. Only this file sees Paddle's headers; the work is behind engine/api.h.
//
//   Inputs:  X, what the plan's inputs say; Params, the arrays that the plan names.
//   Outputs: Out1, Out2, ...: those of the plan.
//   plan:    the text that csrc/README.md describes.
//   threads: of one run; 0 for PADDLE_UNSTRUCTURED_THREADS, or 1.

#include <pthread.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/api.h"
#include "paddle/phi/api/ext/op_meta_info.h"
#include "paddle/phi/api/include/api.h"

namespace {

constexpr int kErrorSize = 2048;

int count_threads(int threads) {
  if (threads > 0) return threads;
  const char* const text = std::getenv("PADDLE_UNSTRUCTURED_THREADS");
  if (text == nullptr || *text == '\0') return 1;
  char* end = nullptr;
  const long asked = std::strtol(text, &end, 10);
  PD_CHECK(*end == '\0' && asked >= 1 && asked <= 256,
           "paddle_unstructured: PADDLE_UNSTRUCTURED_THREADS must be an int in [1, 256], got ", text);
  return static_cast<int>(asked);
}

// Of all caches. A fork waits for it: in the child it would stay locked for ever.
std::mutex cache_mutex;
[[maybe_unused]] const int registered =
    pthread_atfork([] { cache_mutex.lock(); }, [] { cache_mutex.unlock(); }, [] { cache_mutex.unlock(); });

// The things used last; the one used longest ago is dropped when there are too many.
template <typename Key, typename Value>
class Cache {
 public:
  template <typename Make>
  std::shared_ptr<Value> find(const Key& key, const Make& make) {
    const std::lock_guard<std::mutex> lock(cache_mutex);
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
      if (!(entry->first == key)) continue;
      entries_.splice(entries_.begin(), entries_, entry);
      return entry->second;
    }
    entries_.emplace_front(key, make());
    if (entries_.size() > kMost) entries_.pop_back();
    return entries_.front().second;
  }

 private:
  static constexpr size_t kMost = 32;
  std::list<std::pair<Key, std::shared_ptr<Value>>> entries_;
};

std::shared_ptr<pu_plan> find_plan(const std::string& text) {
  static Cache<std::string, pu_plan> cache;
  return cache.find(text, [&] {
    char error[kErrorSize] = "";
    pu_plan* const plan = pu_plan_create(text.c_str(), error, kErrorSize);
    PD_CHECK(plan != nullptr, "paddle_unstructured: ", error);
    return std::shared_ptr<pu_plan>(plan, pu_plan_free);
  });
}

// A loaded model is known by its plan, which holds a digest of all parameters, and by where Paddle keeps them. It has
// copies of its own, so parameters that Paddle has freed do no harm.
struct ModelKey {
  std::string plan;
  std::vector<const void*> places;
  int threads;

  bool operator==(const ModelKey& other) const {
    return threads == other.threads && places == other.places && plan == other.plan;
  }
};

int32_t dtype_of(const paddle::Tensor& tensor) {
  switch (tensor.dtype()) {
    case paddle::DataType::FLOAT32:
      return 0;
    case paddle::DataType::INT16:
      return 1;
    case paddle::DataType::INT32:
      return 2;
    case paddle::DataType::INT8:
      return 3;
    default:
      PD_THROW("paddle_unstructured: a parameter is neither float32 nor int8, int16 or int32");
  }
}

void check_tensor(const paddle::Tensor& tensor, const char* name) {
  PD_CHECK(tensor.is_cpu(), "paddle_unstructured: ", name, " must be on the CPU");
  PD_CHECK(tensor.layout() != paddle::DataLayout::ONEDNN, "paddle_unstructured: ", name,
           " has oneDNN's blocked layout, which this operator cannot read; let it follow the model's input directly, "
           "or call config.disable_onednn()");
}

std::shared_ptr<pu_model> load_model(const ModelKey& key, const std::vector<paddle::Tensor>& params) {
  std::vector<pu_array> arrays;
  for (const paddle::Tensor& param : params) {
    check_tensor(param, "a parameter");
    arrays.push_back({dtype_of(param), param.numel(), param.data()});
  }
  char error[kErrorSize] = "";
  pu_model* const model = pu_model_create(key.plan.c_str(), arrays.data(), static_cast<int32_t>(arrays.size()),
                                          key.threads, error, kErrorSize);
  PD_CHECK(model != nullptr, "paddle_unstructured: ", error);
  return std::shared_ptr<pu_model>(model, pu_model_free);
}

std::shared_ptr<pu_model> find_model(const std::vector<paddle::Tensor>& params, const std::string& plan, int threads) {
  static Cache<ModelKey, pu_model> cache;
  ModelKey key{plan, {}, count_threads(threads)};
  for (const paddle::Tensor& param : params) key.places.push_back(param.data());
  return cache.find(key, [&] { return load_model(key, params); });
}

// By their numbers in api.h.
constexpr paddle::DataType kElements[] = {
    paddle::DataType::FLOAT32, paddle::DataType::INT16,   paddle::DataType::INT32,
    paddle::DataType::INT8,    paddle::DataType::INT64,   paddle::DataType::BOOL,
    paddle::DataType::UINT8,   paddle::DataType::FLOAT16, paddle::DataType::FLOAT64};

int32_t element_of(paddle::DataType dtype) {
  const auto* const found = std::find(std::begin(kElements), std::end(kElements), dtype);
  PD_CHECK(found != std::end(kElements), "paddle_unstructured: an input has a dtype that no plan takes");
  return static_cast<int32_t>(found - kElements);
}

paddle::DataType dtype_of(int32_t element) { return kElements[element]; }

pu_tensor describe(int32_t dtype, const std::vector<int64_t>& dims) {
  PD_CHECK(dims.size() <= PU_MOST_RANK, "paddle_unstructured: an input has more than 8 axes");
  pu_tensor tensor{dtype, static_cast<int32_t>(dims.size()), {}};
  std::copy(dims.begin(), dims.end(), tensor.dims);
  return tensor;
}

std::vector<int64_t> dims_of(const pu_tensor& tensor) { return {tensor.dims, tensor.dims + tensor.rank}; }

using Shapes = std::vector<std::vector<int64_t>>;
using Types = std::vector<paddle::DataType>;
using Tensors = std::vector<paddle::Tensor>;

// Shapes come without types here: the plan's own are taken.
Shapes infer_shapes(const Shapes& x, const Shapes& params, const std::string& plan, const int& threads) {
  (void)params;
  (void)threads;
  const std::shared_ptr<pu_plan> known = find_plan(plan);
  std::vector<pu_tensor> inputs, outputs(static_cast<size_t>(pu_plan_output_count(known.get())));
  for (size_t i = 0; i < x.size(); ++i)
    inputs.push_back(describe(pu_plan_input_dtype(known.get(), static_cast<int32_t>(i)), x[i]));
  char error[kErrorSize] = "";
  PD_CHECK(pu_plan_infer(known.get(), inputs.data(), static_cast<int32_t>(inputs.size()), outputs.data(), error,
                         kErrorSize) == 0,
           "paddle_unstructured: ", error);
  Shapes shapes;
  for (const pu_tensor& output : outputs) shapes.push_back(dims_of(output));
  return shapes;
}

Types infer_dtypes(const Types& x, const Types& params, const std::string& plan, const int& threads) {
  (void)x;
  (void)params;
  (void)threads;
  const std::shared_ptr<pu_plan> known = find_plan(plan);
  Types types;
  for (int32_t i = 0; i < pu_plan_output_count(known.get()); ++i)
    types.push_back(dtype_of(pu_plan_output_dtype(known.get(), i)));
  return types;
}

Tensors run(const Tensors& x, const Tensors& params, const std::string& plan, int threads) {
  std::vector<pu_tensor> inputs;
  std::vector<const void*> from;
  for (const paddle::Tensor& each : x) {
    check_tensor(each, "an input");
    inputs.push_back(describe(element_of(each.dtype()), each.shape()));
    from.push_back(each.data());
  }
  const std::shared_ptr<pu_model> model = find_model(params, plan, threads);
  const auto count = static_cast<int32_t>(inputs.size());
  std::vector<pu_tensor> made(static_cast<size_t>(pu_model_output_count(model.get())));
  char error[kErrorSize] = "";
  PD_CHECK(pu_model_infer(model.get(), inputs.data(), count, made.data(), error, kErrorSize) == 0,
           "paddle_unstructured: ", error);
  Tensors outputs;
  std::vector<void*> to;
  for (const pu_tensor& each : made) {
    outputs.push_back(paddle::experimental::empty(dims_of(each), dtype_of(each.dtype), x[0].place()));
    to.push_back(outputs.back().data());
  }
  PD_CHECK(pu_model_run(model.get(), inputs.data(), from.data(), count, to.data(), error, kErrorSize) == 0,
           "paddle_unstructured: ", error);
  return outputs;
}

// Models that were converted before version 3 of the plan have one input.
Shapes infer_shapes_of_one(const std::vector<int64_t>& x, const Shapes& params, const std::string& plan,
                           const int& threads) {
  return infer_shapes({x}, params, plan, threads);
}

Types infer_dtypes_of_one(const paddle::DataType& x, const Types& params, const std::string& plan, const int& threads) {
  return infer_dtypes({x}, params, plan, threads);
}

Tensors run_one(const paddle::Tensor& x, const Tensors& params, const std::string& plan, int threads) {
  return run({x}, params, plan, threads);
}

}  // namespace

#define PU_BUILD_OP_OF_ONE(name, ...)                       \
  PD_BUILD_OP(name)                                         \
      .Inputs({"X", paddle::Vec("Params")})                 \
      .Outputs({__VA_ARGS__})                               \
      .Attrs({"plan: std::string", "threads: int"})         \
      .SetKernelFn(PD_KERNEL(run_one))                      \
      .SetInferShapeFn(PD_INFER_SHAPE(infer_shapes_of_one)) \
      .SetInferDtypeFn(PD_INFER_DTYPE(infer_dtypes_of_one))

PU_BUILD_OP_OF_ONE(paddle_unstructured_net1, "Out1");
PU_BUILD_OP_OF_ONE(paddle_unstructured_net2, "Out1", "Out2");
PU_BUILD_OP_OF_ONE(paddle_unstructured_net3, "Out1", "Out2", "Out3");
PU_BUILD_OP_OF_ONE(paddle_unstructured_net4, "Out1", "Out2", "Out3", "Out4");

// An operator of Paddle has a fixed number of outputs, so there is one for each number.
#define PU_BUILD_OP(count)                               \
  PD_BUILD_OP(paddle_unstructured_run##count)            \
      .Inputs({paddle::Vec("X"), paddle::Vec("Params")}) \
      .Outputs(output_names(count))                      \
      .Attrs({"plan: std::string", "threads: int"})      \
      .SetKernelFn(PD_KERNEL(run))                       \
      .SetInferShapeFn(PD_INFER_SHAPE(infer_shapes))     \
      .SetInferDtypeFn(PD_INFER_DTYPE(infer_dtypes))

static std::vector<std::string> output_names(int count) {
  std::vector<std::string> names;
  for (int i = 1; i <= count; ++i) names.push_back("Out" + std::to_string(i));
  return names;
}

PU_BUILD_OP(1);
PU_BUILD_OP(2);
PU_BUILD_OP(3);
PU_BUILD_OP(4);
PU_BUILD_OP(5);
PU_BUILD_OP(6);
PU_BUILD_OP(7);
PU_BUILD_OP(8);
PU_BUILD_OP(9);
PU_BUILD_OP(10);
PU_BUILD_OP(11);
PU_BUILD_OP(12);
PU_BUILD_OP(13);
PU_BUILD_OP(14);
PU_BUILD_OP(15);
PU_BUILD_OP(16);
PU_BUILD_OP(17);
PU_BUILD_OP(18);
PU_BUILD_OP(19);
PU_BUILD_OP(20);
PU_BUILD_OP(21);
PU_BUILD_OP(22);
PU_BUILD_OP(23);
PU_BUILD_OP(24);
PU_BUILD_OP(25);
PU_BUILD_OP(26);
PU_BUILD_OP(27);
PU_BUILD_OP(28);
PU_BUILD_OP(29);
PU_BUILD_OP(30);
PU_BUILD_OP(31);
PU_BUILD_OP(32);
