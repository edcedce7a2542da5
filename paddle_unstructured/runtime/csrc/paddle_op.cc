// SPDX-License-Identifier: Apache-2.0
// The Paddle operator: a whole net as one op. Only this file sees Paddle's headers; the work is behind engine/api.h.
//
//   Inputs:  X, the image or vectors, float32; Params, the arrays that the plan names.
//   Outputs: Out1, Out2, ...: those of the plan.
//   plan:    the text that csrc/README.md describes.
//   threads: of one run; 0 for PADDLE_UNSTRUCTURED_THREADS, or 1.

#include <pthread.h>

#include <cstdlib>
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

std::vector<int64_t> dimensions(const pu_shape& shape, int64_t batch) {
  if (shape.rank == 2) return {batch, shape.channels};
  return {batch, shape.channels, shape.height, shape.width};
}

std::vector<std::vector<int64_t>> infer_shapes(const std::vector<int64_t>& x,
                                               const std::vector<std::vector<int64_t>>& params, const std::string& plan,
                                               const int& threads) {
  (void)params;
  (void)threads;
  PD_CHECK(x.size() == 2 || x.size() == 4, "paddle_unstructured: the input must have 2 or 4 dimensions");
  const std::shared_ptr<pu_plan> known = find_plan(plan);
  std::vector<pu_shape> outputs(static_cast<size_t>(pu_plan_output_count(known.get())));
  const bool plane = x.size() == 4;
  char error[kErrorSize] = "";
  PD_CHECK(pu_plan_infer(known.get(), plane ? x[2] : 1, plane ? x[3] : 1, outputs.data(), error, kErrorSize) == 0,
           "paddle_unstructured: ", error);
  std::vector<std::vector<int64_t>> shapes;
  for (const pu_shape& output : outputs) shapes.push_back(dimensions(output, x[0]));
  return shapes;
}

std::vector<paddle::DataType> infer_dtypes(const paddle::DataType& x, const std::vector<paddle::DataType>& params,
                                           const std::string& plan, const int& threads) {
  (void)params;
  (void)threads;
  return std::vector<paddle::DataType>(static_cast<size_t>(pu_plan_output_count(find_plan(plan).get())), x);
}

std::vector<paddle::Tensor> run(const paddle::Tensor& x, const std::vector<paddle::Tensor>& params,
                                const std::string& plan, int threads) {
  check_tensor(x, "the input");
  PD_CHECK(x.dtype() == paddle::DataType::FLOAT32, "paddle_unstructured: the input must be float32");
  const std::shared_ptr<pu_model> model = find_model(params, plan, threads);
  const std::vector<int64_t> shape = x.shape();
  const pu_shape wanted = pu_model_input(model.get());
  PD_CHECK(static_cast<int32_t>(shape.size()) == wanted.rank && shape[1] == wanted.channels,
           "paddle_unstructured: the input must have ", wanted.rank, " dimensions and ", wanted.channels, " channels");
  const int64_t height = wanted.rank == 4 ? shape[2] : 1, width = wanted.rank == 4 ? shape[3] : 1;
  std::vector<pu_shape> shapes(static_cast<size_t>(pu_model_output_count(model.get())));
  char error[kErrorSize] = "";
  PD_CHECK(pu_model_infer(model.get(), height, width, shapes.data(), error, kErrorSize) == 0,
           "paddle_unstructured: ", error);
  std::vector<paddle::Tensor> outputs;
  std::vector<float*> data;
  for (const pu_shape& each : shapes) {
    outputs.push_back(paddle::experimental::empty(dimensions(each, shape[0]), x.dtype(), x.place()));
    data.push_back(outputs.back().data<float>());
  }
  PD_CHECK(pu_model_run(model.get(), x.data<float>(), shape[0], height, width, data.data(), error, kErrorSize) == 0,
           "paddle_unstructured: ", error);
  return outputs;
}

}  // namespace

// An operator of Paddle has a fixed number of outputs, so there is one for each number.
#define PU_BUILD_OP(name, ...)                       \
  PD_BUILD_OP(name)                                  \
      .Inputs({"X", paddle::Vec("Params")})          \
      .Outputs({__VA_ARGS__})                        \
      .Attrs({"plan: std::string", "threads: int"})  \
      .SetKernelFn(PD_KERNEL(run))                   \
      .SetInferShapeFn(PD_INFER_SHAPE(infer_shapes)) \
      .SetInferDtypeFn(PD_INFER_DTYPE(infer_dtypes))

PU_BUILD_OP(paddle_unstructured_net1, "Out1");
PU_BUILD_OP(paddle_unstructured_net2, "Out1", "Out2");
PU_BUILD_OP(paddle_unstructured_net3, "Out1", "Out2", "Out3");
PU_BUILD_OP(paddle_unstructured_net4, "Out1", "Out2", "Out3", "Out4");
