// SPDX-License-Identifier: Apache-2.0
// A whole net, ready to run: operations with checked weights, and workspaces for the runs that happen at the same time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "border.h"
#include "operation.h"
#include "teams.h"

namespace paddle_unstructured {

struct Step {
  std::shared_ptr<Operation> operation;  // the node's own, which holds its weights
  std::shared_ptr<Operation> runs;       // the same, or one that does an earlier step's work too
  std::vector<size_t> inputs;            // of what runs
  Format makes;                          // what its value is
  bool fused_away = false;               // a later step does its work; its value is never made
};

// What the plan says, without weights: enough to know the shapes.
class Network {
 public:
  explicit Network(const Plan& plan);

  const std::vector<Input>& inputs() const { return inputs_; }
  const std::vector<Step>& steps() const { return steps_; }
  const std::vector<Output>& outputs() const { return outputs_; }
  const Lifetimes& lifetimes() const { return lifetimes_; }

  void load(const Plan& plan, const LoadContext& context);
  // Whether what reads an input takes it where the caller has it, if its planes need no padding.
  bool is_read_in_place(size_t input) const { return is_read_in_place_[input]; }
  // What the values need of the arena.
  std::vector<int64_t> bytes_for(const std::vector<Shape>& shapes) const;
  Format format_of(size_t value) const { return is_input(value) ? Format{} : step_of(value).makes; }
  bool is_input(size_t value) const { return value < inputs_.size(); }
  // How many samples the tensors are of; kUnknown if none says. Refuses tensors of different numbers of them.
  int64_t batch(const std::vector<Tensor>& given) const;
  // Of one sample, for tensors whose sizes may be kUnknown; refuses what does not fit.
  std::vector<Shape> infer_values(const std::vector<Tensor>& given) const;
  std::vector<Tensor> infer(const std::vector<Tensor>& given) const;

 private:
  const Step& step_of(size_t value) const { return steps_[value - inputs_.size()]; }
  void add_step(const Node& node);
  void fuse_steps();
  bool is_read_once(size_t value) const;
  void find_lifetimes();
  int64_t place_of_an_input(size_t value) const;

  std::vector<Input> inputs_;
  std::vector<bool> is_read_in_place_;  // each input
  std::vector<Step> steps_;             // step i makes value inputs_.size() + i
  std::vector<Output> outputs_;
  Lifetimes lifetimes_;
};

// A tensor of the caller.
struct Given {
  Tensor tensor;
  const void* data;
};

// Immutable but for its teams, so any number of threads may call `run` at once.
class Model {
 public:
  // Checks everything that the kernels will trust. `threads`: of one run.
  Model(const std::string& plan, const Parameters& parameters, int threads);

  const Network& network() const { return network_; }
  const char* isa() const { return kernels_.f32.name; }
  const char* isa_int8() const { return kernels_.int8.name; }
  const char* isa_bf16() const { return kernels_.bf16.name; }

  // outputs[i]: as `Network::infer` says, dense. nanoseconds[i], if there is room for them: what step i took.
  void run(const std::vector<Given>& inputs, const std::vector<void*>& outputs, int64_t* nanoseconds = nullptr) const;

 private:
  Model(const Plan& plan, const Parameters& parameters, int threads);

  void prepare(Workspace& workspace, const std::vector<Shape>& shapes) const;
  void prepare_scratch(Team& team, const std::vector<Shape>& shapes) const;
  struct Run {
    const std::vector<Given>& inputs;
    const std::vector<void*>& outputs;
    int64_t batch;
  };
  void run_sample(Workspace& workspace, const std::vector<uint8_t*>& scratch, ThreadPool* pool, const Run& run,
                  int64_t sample, int64_t* nanoseconds) const;
  Value value_of(const Workspace& workspace, size_t value) const;
  Value input_of(const Context& context, const Workspace& workspace, size_t input, const Given& given,
                 int64_t sample) const;

  Kernels kernels_;
  WeightMemory memory_;
  Network network_;
  mutable Teams teams_;
};

}  // namespace paddle_unstructured
