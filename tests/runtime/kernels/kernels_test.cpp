// SPDX-License-Identifier: Apache-2.0
// The kernels and their executor against plain loops, for every instruction set of this machine: meant for sanitizers,
// which see what a wrong result does not show. Run by tests/runtime/test_build.py.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

#include "engine/api.h"

#if defined(__GLIBC__)
extern "C" long __sysconf(int name) noexcept;

// A first-level cache of 48 KB, whatever this processor has: it lets tiles be wider than one of 32 KB. The thread
// sanitizer asks before it has begun.
extern "C" __attribute__((no_sanitize("thread"))) long sysconf(int name) noexcept {
  return name == _SC_LEVEL1_DCACHE_SIZE ? 48 * 1024 : __sysconf(name);
}
#endif

namespace {

std::mt19937 generator(1);

int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(generator); }

std::vector<float> numbers(size_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

[[noreturn]] void give_up(const std::string& what) {
  std::printf("FAILED: %s\n", what.c_str());
  std::exit(1);
}

// Arrays on memory of exactly their size, so that a read beyond them is seen.
struct Arrays {
  std::vector<std::vector<float>> floats;
  std::vector<std::vector<int16_t>> integers;
  std::vector<std::vector<int8_t>> bytes;
  std::vector<pu_array> described;

  std::string add(std::vector<float> values) {
    floats.push_back(std::move(values));
    described.push_back({0, static_cast<int64_t>(floats.back().size()), floats.back().data()});
    return std::to_string(described.size() - 1);
  }
  std::string add(std::vector<int16_t> values) {
    integers.push_back(std::move(values));
    described.push_back({1, static_cast<int64_t>(integers.back().size()), integers.back().data()});
    return std::to_string(described.size() - 1);
  }
  std::string add(std::vector<int8_t> values) {
    bytes.push_back(std::move(values));
    described.push_back({3, static_cast<int64_t>(bytes.back().size()), bytes.back().data()});
    return std::to_string(described.size() - 1);
  }
};

// The plan with the digest that it must have; as it is if it cannot be read.
std::string signed_plan(const std::string& lines, const Arrays& arrays) {
  const bool is_named = lines.rfind("input name=", 0) == 0;  // as of version 3
  const std::string head = std::string("paddle_unstructured plan ") + (is_named ? "3" : "2") + "\ncontents digest=";
  char digest[32], error[256] = "";
  const uint64_t found = pu_digest((head + "0\n" + lines).c_str(), arrays.described.data(),
                                   static_cast<int32_t>(arrays.described.size()), error, sizeof error);
  std::snprintf(digest, sizeof digest, "%016llx", static_cast<unsigned long long>(found));
  return head + digest + "\n" + lines;
}

// One input of images, float32.
int32_t run_images(const pu_model* model, const float* x, int64_t batch, int64_t height, int64_t width,
                   float* const* outputs, char* error, int64_t error_size) {
  pu_tensor images = pu_model_input(model, 0);
  images.dims[0] = batch;
  images.dims[2] = height;
  images.dims[3] = width;
  const void* const data[] = {x};
  return pu_model_run(model, &images, data, 1, reinterpret_cast<void* const*>(outputs), error, error_size);
}

struct Case {
  int inputs, outputs, kernel, stride, pad, dilation, height, width, batch, threads, block;  // block 0: dense
  bool depthwise;

  size_t results() const { return static_cast<size_t>(batch * outputs * output_size(height) * output_size(width)); }
  int output_size(int size) const { return (size + 2 * pad - (kernel - 1) * dilation - 1) / stride + 1; }
  std::string text() const {
    std::ostringstream s;
    s << inputs << "->" << outputs << " kernel " << kernel << " stride " << stride << " pad " << pad << " dilation "
      << dilation << " size " << height << "x" << width << " batch " << batch << " threads " << threads << " block "
      << block << (depthwise ? " depthwise" : "");
    return s.str();
  }
};

Case random_case() {
  Case c{pick(1, 40), pick(1, 70), 1, pick(1, 3), 0, 1, pick(1, 20), pick(1, 40), pick(1, 3), pick(1, 3), 0, false};
  c.depthwise = pick(0, 3) == 0;
  const int kernels[] = {1, 3, 5, 7};
  c.kernel = kernels[c.depthwise ? pick(1, 3) : pick(0, 2)];
  c.pad = pick(0, c.kernel - 1);
  const int blocks[] = {0, 1, 2, 4};
  c.block = blocks[pick(0, 3)];
  if (c.depthwise) {
    c.outputs = c.inputs;
    c.stride = pick(1, 2);
  }
  c.dilation = pick(1, 2);
  const int reach = (c.kernel - 1) * c.dilation + 1 - 2 * c.pad;
  c.height = std::max(c.height, reach);
  c.width = std::max(c.width, reach);
  return c;
}

// [outputs, depth] with zeros in blocks of neighbouring outputs.
std::vector<float> sparse_weights(const Case& c, size_t depth) {
  std::vector<float> weights = numbers(static_cast<size_t>(c.outputs) * depth);
  const int block = std::max(1, c.block);
  for (int row = 0; row < c.outputs; row += block)
    for (size_t k = 0; k < depth; ++k) {
      if (pick(0, 3) == 0) continue;
      for (int m = row; m < std::min(row + block, c.outputs); ++m) weights[static_cast<size_t>(m) * depth + k] = 0;
    }
  return weights;
}

std::string add_sparse(Arrays& arrays, const Case& c, const std::vector<float>& weights, size_t depth) {
  std::vector<float> values;
  std::vector<int16_t> columns, counts;
  for (int row = 0; row < c.outputs; row += c.block) {
    int16_t count = 0;
    for (size_t k = 0; k < depth; ++k) {
      std::vector<float> block(static_cast<size_t>(c.block), 0.0f);
      bool kept = false;
      for (int m = 0; m < c.block && row + m < c.outputs; ++m) {
        block[static_cast<size_t>(m)] = weights[static_cast<size_t>(row + m) * depth + k];
        kept = kept || block[static_cast<size_t>(m)] != 0;
      }
      if (!kept) continue;
      values.insert(values.end(), block.begin(), block.end());
      columns.push_back(static_cast<int16_t>(k));
      ++count;
    }
    counts.push_back(count);
  }
  return arrays.add(values) + "," + arrays.add(columns) + "," + arrays.add(counts);
}

std::string plan_of(const Case& c, Arrays& arrays, const std::vector<float>& weights, const std::vector<float>& bias,
                    size_t depth) {
  std::ostringstream plan;
  plan << (c.depthwise ? "depthwise" : "conv") << " from=0 in=" << c.inputs << " out=" << c.outputs
       << " kernel=" << c.kernel << "," << c.kernel << " stride=" << c.stride << "," << c.stride << " pad=" << c.pad
       << "," << c.pad << "," << c.pad << "," << c.pad << " dilation=" << c.dilation << "," << c.dilation;
  if (c.depthwise || c.block == 0) {
    plan << " weights=dense params=" << arrays.add(weights);
  } else {
    plan << " weights=sparse block=" << c.block << " params=" << add_sparse(arrays, c, weights, depth);
  }
  plan << "," << arrays.add(bias) << "\noutput from=1 rank=4";
  return "input channels=" + std::to_string(c.inputs) + " rank=4\n" + plan.str();
}

double expected(const Case& c, const std::vector<float>& x, const std::vector<float>& weights,
                const std::vector<float>& bias, int sample, int output, int row, int column) {
  double total = bias[static_cast<size_t>(output)];
  const int channels = c.depthwise ? 1 : c.inputs;
  for (int channel = 0; channel < channels; ++channel)
    for (int i = 0; i < c.kernel; ++i)
      for (int j = 0; j < c.kernel; ++j) {
        const int y = row * c.stride - c.pad + i * c.dilation, z = column * c.stride - c.pad + j * c.dilation;
        if (y < 0 || y >= c.height || z < 0 || z >= c.width) continue;
        const int from = c.depthwise ? output : channel;
        const size_t weight = (static_cast<size_t>(output * channels + channel) * static_cast<size_t>(c.kernel) +
                               static_cast<size_t>(i)) *
                                  static_cast<size_t>(c.kernel) +
                              static_cast<size_t>(j);
        total +=
            double{weights[weight]} *
            x[(static_cast<size_t>(sample * c.inputs + from) * static_cast<size_t>(c.height) + static_cast<size_t>(y)) *
                  static_cast<size_t>(c.width) +
              static_cast<size_t>(z)];
      }
  return total;
}

void compare(const Case& c, const std::vector<float>& x, const std::vector<float>& weights,
             const std::vector<float>& bias, const std::vector<float>& got) {
  size_t at = 0;
  for (int sample = 0; sample < c.batch; ++sample)
    for (int output = 0; output < c.outputs; ++output)
      for (int row = 0; row < c.output_size(c.height); ++row)
        for (int column = 0; column < c.output_size(c.width); ++column, ++at) {
          const double want = expected(c, x, weights, bias, sample, output, row, column);
          if (!(std::fabs(got[at] - want) <= 1e-4 * (1 + std::fabs(want)))) give_up("wrong result: " + c.text());
        }
}

void test_one_layer() {
  const Case c = random_case();
  const size_t depth = static_cast<size_t>((c.depthwise ? 1 : c.inputs) * c.kernel * c.kernel);
  const std::vector<float> weights =
      c.depthwise ? numbers(static_cast<size_t>(c.outputs) * depth) : sparse_weights(c, depth);
  const std::vector<float> bias = numbers(static_cast<size_t>(c.outputs));
  Arrays arrays;
  const std::string plan = signed_plan(plan_of(c, arrays, weights, bias, depth), arrays);
  char error[512] = "";
  const auto count = static_cast<int32_t>(arrays.described.size());
  pu_model* const model = pu_model_create(plan.c_str(), arrays.described.data(), count, c.threads, error, sizeof error);
  if (model == nullptr) give_up(c.text() + ": " + error);
  const std::vector<float> x = numbers(static_cast<size_t>(c.batch * c.inputs * c.height * c.width));
  std::vector<float> y(static_cast<size_t>(c.batch * c.outputs * c.output_size(c.height) * c.output_size(c.width)));
  float* outputs[] = {y.data()};
  for (int repeat = 0; repeat < 2; ++repeat) {
    if (run_images(model, x.data(), c.batch, c.height, c.width, outputs, error, sizeof error) != 0)
      give_up(c.text() + ": " + error);
    compare(c, x, weights, bias, y);
  }
  pu_model_free(model);
}

const char kBranches[] =
    "input channels=3 rank=4\n"
    "pool from=0 type=max kernel=3,3 stride=2,2 pad=1,1,1,1 dilation=1,1 ceil=0 exclusive=1\n"
    "pool from=0 type=avg kernel=2,2 stride=2,2 pad=0,0,0,0 dilation=1,1 ceil=1 exclusive=1\n"
    "concat from=1,2\nglobal_pool from=3\nmultiply from=3,4 act=hard_swish\nadd from=3,5 act=leaky_relu:0.1\n"
    "activation from=6 act=swish\nflatten from=7\nsoftmax from=8\noutput from=9 rank=2\noutput from=6 rank=4";

// Several threads of the caller share one model whose runs have threads of their own.
void test_shared_model() {
  char error[512] = "";
  pu_model* const model = pu_model_create(signed_plan(kBranches, {}).c_str(), nullptr, 0, 3, error, sizeof error);
  if (model == nullptr) give_up(error);
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 3; ++caller)
    callers.emplace_back([model, caller] {
      const int height = 5 + caller, width = 17 + 9 * caller, rows = (height + 1) / 2, columns = (width + 1) / 2;
      const std::vector<float> x(static_cast<size_t>(3 * 3 * height * width), 0.5f);
      std::vector<float> flat(static_cast<size_t>(3 * 6 * rows * columns)), plane(flat.size());
      float* outputs[] = {flat.data(), plane.data()};
      char problem[512] = "";
      for (int repeat = 0; repeat < 20; ++repeat)
        if (run_images(model, x.data(), 3, height, width, outputs, problem, sizeof problem) != 0) give_up(problem);
      if (std::fabs(flat[0] - 1.0 / (6 * rows * columns)) > 1e-6) give_up("softmax of equal values");
    });
  for (std::thread& caller : callers) caller.join();
  pu_model_free(model);
}

int64_t count_values(const pu_tensor& tensor) {
  int64_t count = 1;
  for (int32_t i = 0; i < tensor.rank; ++i) count = tensor.dims[i] < 1 << 12 ? count * tensor.dims[i] : 1 << 24;
  return count;
}

// A model of any inputs, on zeros, with 6 where a size is open; on memory of exactly the size that is asked for.
// Whether it ran.
bool run_small(const pu_model* model) {
  char error[256] = "";
  std::vector<pu_tensor> inputs, made(static_cast<size_t>(pu_model_output_count(model)));
  std::vector<std::vector<char>> memory;
  std::vector<const void*> data;
  std::vector<void*> outputs;
  const auto allocate = [&memory](const pu_tensor& tensor) {
    const int64_t bytes_of[] = {4, 2, 4, 1, 8, 1, 1, 2, 8};  // as the types are numbered in api.h
    const int64_t bytes = count_values(tensor) * bytes_of[tensor.dtype];
    memory.emplace_back(static_cast<size_t>(bytes < 1 << 22 ? bytes : 0), char{0});
    return bytes < 1 << 22 ? memory.back().data() : nullptr;
  };
  for (int32_t i = 0; i < pu_model_input_count(model); ++i) {
    inputs.push_back(pu_model_input(model, i));
    for (int64_t& extent : inputs.back().dims) extent = extent < 0 ? 6 : extent;
    data.push_back(allocate(inputs.back()));
    if (data.back() == nullptr) return false;
  }
  const auto count = static_cast<int32_t>(inputs.size());
  if (pu_model_infer(model, inputs.data(), count, made.data(), error, sizeof error) != 0) return false;
  for (const pu_tensor& each : made) {
    outputs.push_back(allocate(each));
    if (outputs.back() == nullptr) return false;
  }
  return pu_model_run(model, inputs.data(), data.data(), count, outputs.data(), error, sizeof error) == 0;
}

// Digits and letters of a plan exchanged at random: refused or run, but never beyond any memory.
void run_damaged(const std::string& lines, const Arrays& arrays) {
  const char letters[] = "0123456789,=- \nabc";
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = lines;
    for (int i = pick(1, 3); i > 0; --i)
      damaged[static_cast<size_t>(pick(0, static_cast<int>(lines.size()) - 1))] = letters[pick(0, 17)];
    char error[256] = "";
    pu_model* const model = pu_model_create(signed_plan(damaged, arrays).c_str(), arrays.described.data(),
                                            static_cast<int32_t>(arrays.described.size()), 1, error, sizeof error);
    if (model == nullptr) continue;
    run_small(model);
    pu_model_free(model);
  }
}

void test_damaged_plans() {
  Case c{4, 6, 3, 1, 1, 1, 6, 6, 1, 1, 1, false};
  const std::vector<float> weights = sparse_weights(c, 36), bias = numbers(6);
  Arrays arrays;
  run_damaged(plan_of(c, arrays, weights, bias, 36), arrays);
}

// Inputs of several ranks and types, one of which all samples share; outputs in other orders.
const char kBorders[] =
    "input name=a dtype=float32 axes=n,c,h,w dims=-1,3,-1,-1\n"
    "input name=b dtype=int64 axes=n,h,c,w dims=-1,-1,3,-1\n"
    "input name=c dtype=int32 axes=1,c dims=1,3\ninput name=d dtype=bool axes=n,w dims=-1,-1\n"
    "add from=0,1 act=relu\nmultiply from=4,2 act=none\n"
    "output from=5 dims=n,h,w,c dtype=float32\noutput from=4 dims=3,n,h*w dtype=int64\n"
    "output from=3 dims=n,-1 dtype=bool\noutput from=5 dims=n*3,h,w dtype=int32";

void test_borders() {
  char error[512] = "";
  pu_model* const model = pu_model_create(signed_plan(kBorders, {}).c_str(), nullptr, 0, 1, error, sizeof error);
  if (model == nullptr) give_up(error);
  run_small(model);
  const pu_tensor inputs[] = {{0, 4, {2, 3, 2, 5}}, {4, 4, {2, 2, 3, 5}}, {2, 2, {1, 3}}, {5, 2, {2, 7}}};
  std::vector<float> a(60), planes(60);
  std::vector<int64_t> b(60), sums(60);
  const int32_t c[] = {1, 2, 3};
  const bool d[14] = {true};
  bool mask[14];
  std::vector<int32_t> whole(60);
  for (int i = 0; i < 60; ++i) a[static_cast<size_t>(i)] = static_cast<float>(i), b[static_cast<size_t>(i)] = 100 * i;
  const void* const data[] = {a.data(), b.data(), c, d};
  void* const outputs[] = {planes.data(), sums.data(), mask, whole.data()};
  if (pu_model_run(model, inputs, data, 4, outputs, error, sizeof error) != 0) give_up(error);
  for (int n = 0; n < 2; ++n)
    for (int k = 0; k < 3; ++k)
      for (int y = 0; y < 2; ++y)
        for (int x = 0; x < 5; ++x) {
          const int sum = ((n * 3 + k) * 2 + y) * 5 + x + 100 * (((n * 2 + y) * 3 + k) * 5 + x);
          const bool right =
              planes[static_cast<size_t>(((n * 2 + y) * 5 + x) * 3 + k)] == static_cast<float>(sum * (k + 1)) &&
              sums[static_cast<size_t>((k * 2 + n) * 10 + y * 5 + x)] == sum &&
              whole[static_cast<size_t>(((n * 3 + k) * 2 + y) * 5 + x)] == sum * (k + 1);
          if (!right) give_up("a tensor at the border");
        }
  if (!mask[0] || mask[1] || mask[13]) give_up("a mask at the border");
  pu_model_free(model);
  run_damaged(kBorders, {});
}

// What a plan of one image and two outputs of `count` numbers makes.
std::vector<std::vector<float>> run_plan(const Case& c, const std::string& plan, const Arrays& arrays,
                                         const std::vector<float>& x, size_t count) {
  char error[512] = "";
  const auto described = static_cast<int32_t>(arrays.described.size());
  pu_model* const model =
      pu_model_create(plan.c_str(), arrays.described.data(), described, c.threads, error, sizeof error);
  if (model == nullptr) give_up(c.text() + ": " + error);
  std::vector<std::vector<float>> made(2, std::vector<float>(count));
  float* outputs[] = {made[0].data(), made[1].data()};
  if (run_images(model, x.data(), c.batch, c.height, c.width, outputs, error, sizeof error) != 0)
    give_up(c.text() + ": " + error);
  pu_model_free(model);
  return made;
}

#include "int8_test.h"
#include "moves_test.h"

#include "bf16_test.h"

}  // namespace

int main() {
  for (const char* isa : {"avx512", "avx2", "neon", "portable"}) {
    setenv("PADDLE_UNSTRUCTURED_ISA", isa, 1);
    char error[256] = "";
    const char nothing[] =
        "paddle_unstructured plan 2\ncontents digest=0\ninput channels=1 rank=4\noutput from=0 rank=4";
    pu_model_create(nothing, nullptr, 0, 1, error, sizeof error);  // refused in any case; the message tells why
    if (std::string(error).find("this processor has") != std::string::npos) {
      std::printf("%s: not on this processor\n", isa);
      continue;
    }
    for (int i = 0; i < 150; ++i) test_one_layer();
    test_shared_model();
    test_damaged_plans();
    test_borders();
    test_moves();
    std::printf("%s: ok\n", isa);
  }
  unsetenv("PADDLE_UNSTRUCTURED_ISA");
  test_int8();
  unsetenv("PADDLE_UNSTRUCTURED_ISA_INT8");
  test_damaged_plans_of_int8();
  test_bf16();
  std::printf("all tests passed\n");
}
