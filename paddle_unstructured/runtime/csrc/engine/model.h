// SPDX-License-Identifier: Apache-2.0
// A whole net, ready to run: operations with checked weights, and workspaces for the runs that happen at the same time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "operation.h"
#include "teams.h"

namespace paddle_unstructured {

struct Output {
  Shape shape;
  int32_t rank;  // 4: [n, channels, height, width]; 2: [n, channels]
};

struct Step {
  std::shared_ptr<Operation> operation;  // the node's own, which holds its weights
  std::shared_ptr<Operation> runs;       // the same, or one that does an earlier step's work too
  std::vector<size_t> inputs;            // of what runs
  Format makes;                          // what its value is
  bool fused_away = false;               // a later step does its work; its value is never made
};

struct Fetch {
  size_t value;
  int32_t rank;
};

// What the plan says, without weights: enough to know the shapes.
class Network {
 public:
  explicit Network(const Plan& plan);

  int32_t input_rank() const { return input_rank_; }
  int32_t input_channels() const { return input_channels_; }
  const std::vector<Step>& steps() const { return steps_; }
  const std::vector<Fetch>& outputs() const { return outputs_; }
  const Lifetimes& lifetimes() const { return lifetimes_; }

  void load(const Plan& plan, const LoadContext& context);
  bool input_is_read_in_place() const { return input_is_read_in_place_; }
  // What the values need of the arena.
  std::vector<int64_t> bytes_for(const std::vector<Shape>& shapes) const;
  Format format_of(size_t value) const { return value == 0 ? Format{} : steps_[value - 1].makes; }
  // Of one sample; height and width may be kUnknown.
  std::vector<Shape> infer_values(int64_t height, int64_t width) const;
  std::vector<Output> infer(int64_t height, int64_t width) const;

 private:
  void add_step(const Node& node);
  void fuse_steps();
  bool is_read_once(size_t value) const;
  void find_lifetimes();

  int32_t input_rank_, input_channels_;
  bool input_is_read_in_place_ = true;  // where its planes need no padding
  std::vector<Step> steps_;
  std::vector<Fetch> outputs_;
  Lifetimes lifetimes_;
};

// Immutable but for its teams, so any number of threads may call `run` at once.
class Model {
 public:
  // Checks everything that the kernels will trust. `threads`: of one run.
  Model(const std::string& plan, const Parameters& parameters, int threads);

  const Network& network() const { return network_; }
  const char* isa() const { return kernels_.f32.name; }
  const char* isa_int8() const { return kernels_.int8.name; }

  // input: [batch, channels, height, width]; outputs[i]: as `Network::infer` says, dense.
  void run(const float* input, int64_t batch, int64_t height, int64_t width, const std::vector<float*>& outputs) const;

 private:
  Model(const Plan& plan, const Parameters& parameters, int threads);

  void prepare(Workspace& workspace, const std::vector<Shape>& shapes) const;
  void prepare_scratch(Team& team, const std::vector<Shape>& shapes) const;
  void run_sample(Workspace& workspace, const std::vector<uint8_t*>& scratch, ThreadPool* pool, const float* input,
                  int64_t sample, const std::vector<float*>& outputs) const;
  Value value_of(const Workspace& workspace, size_t value) const;
  void copy_outputs(const Workspace& workspace, int64_t sample, bool lost_nan,
                    const std::vector<float*>& outputs) const;

  Kernels kernels_;
  Network network_;
  mutable Teams teams_;
};

}  // namespace paddle_unstructured
