// SPDX-License-Identifier: Apache-2.0
#include "model.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include "error.h"
#include "kinds.h"

namespace paddle_unstructured {
namespace {

constexpr int kMostThreads = 256;

size_t read_value(const Node& node, int64_t value, size_t made) {
  if (value < 0 || static_cast<size_t>(value) >= made) node.refuse("reads a value that is not made before it");
  return static_cast<size_t>(value);
}

// Dense [channels, pixels] into planes with their own pitch, and back.
void spread(const float* from, const Value& to) {
  const int64_t pixels = to.shape.pixels();
  for (int64_t channel = 0; channel < to.shape.channels; ++channel, from += pixels)
    std::copy(from, from + pixels, to.channel(channel));
}

void gather(const Value& from, float* to) {
  for (int64_t channel = 0; channel < from.shape.channels; ++channel)
    to = std::copy(from.channel(channel), from.channel(channel) + from.shape.pixels(), to);
}

std::vector<Shape> shapes_of(const Step& step, const std::vector<Shape>& shapes) {
  std::vector<Shape> inputs;
  for (const size_t value : step.inputs) inputs.push_back(shapes[value]);
  return inputs;
}

}  // namespace

Network::Network(const Plan& plan)
    : input_rank_(plan.input.integer("rank", 2, 4)),
      input_channels_(plan.input.integer("channels", 1, kLargest)) {
  if (input_rank_ == 3) plan.input.refuse("has rank 3");
  for (const Node& node : plan.nodes) add_step(node);
  for (const Node& node : plan.outputs) {
    input_is_read_in_place_ = input_is_read_in_place_ && node.integers("from")[0] != 0;
    outputs_.push_back({read_value(node, node.integers("from")[0], steps_.size() + 1), node.integer("rank", 2, 4)});
    if (format_of(outputs_.back().value).is_int8()) node.refuse("returns int8");
  }
  fuse_steps();
  find_lifetimes();
  const int64_t size = input_rank_ == 2 ? 1 : kUnknown;
  infer(size, size);
}

void Network::add_step(const Node& node) {
  Step step;
  for (const int64_t value : node.integers("from")) step.inputs.push_back(read_value(node, value, steps_.size() + 1));
  const Kind& kind = find_kind(node);
  if (kind.inputs != kAnyNumber && step.inputs.size() != static_cast<size_t>(kind.inputs))
    node.refuse("reads another number of values than its kind does");
  step.operation = kind.make(node);
  std::vector<Format> formats;
  for (const size_t value : step.inputs) {
    formats.push_back(format_of(value));
    if (formats.back().type != kind.reads)
      node.refuse(kind.reads == Type::kInt8 ? "takes int8, and reads float32" : "takes float32, and reads int8");
    input_is_read_in_place_ = input_is_read_in_place_ && (value != 0 || step.operation->reads_pixels_only());
  }
  step.makes = step.operation->accept(node, formats);
  step.runs = step.operation;
  steps_.push_back(std::move(step));
}

bool Network::is_read_once(size_t value) const {
  int64_t readers = 0;
  for (const Step& step : steps_) readers += std::count(step.inputs.begin(), step.inputs.end(), value);
  for (const Fetch& fetch : outputs_) readers += 2 * (fetch.value == value);
  return readers == 1;
}

void Network::fuse_steps() {
  for (Step& second : steps_) {
    if (second.inputs.size() != 1 || second.inputs[0] == 0 || !is_read_once(second.inputs[0])) continue;
    Step& first = steps_[second.inputs[0] - 1];
    const std::shared_ptr<Operation> both = fuse(first.operation, second.operation);
    if (both == nullptr) continue;
    second.runs = both;
    second.inputs = first.inputs;
    first.fused_away = true;
  }
}

// Value i + 1 is made by step i; here steps are counted from 1, so that value and step have the same number.
void Network::find_lifetimes() {
  lifetimes_.last_use.resize(steps_.size() + 1);
  for (size_t value = 0; value <= steps_.size(); ++value) lifetimes_.last_use[value] = static_cast<int64_t>(value);
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (steps_[i].fused_away) {
      lifetimes_.last_use[i + 1] = Lifetimes::kNever;
      continue;
    }
    for (const size_t value : steps_[i].inputs) lifetimes_.last_use[value] = static_cast<int64_t>(i) + 1;
  }
  for (const Fetch& fetch : outputs_) lifetimes_.last_use[fetch.value] = static_cast<int64_t>(steps_.size()) + 1;
}

void Network::load(const Plan& plan, const LoadContext& context) {
  for (size_t i = 0; i < steps_.size(); ++i) steps_[i].operation->load(plan.nodes[i], context);
}

std::vector<int64_t> Network::bytes_for(const std::vector<Shape>& shapes) const {
  std::vector<int64_t> bytes;
  for (size_t value = 0; value < shapes.size(); ++value)
    bytes.push_back(bytes_of(shapes[value], format_of(value).type));
  return bytes;
}

std::vector<Shape> Network::infer_values(int64_t height, int64_t width) const {
  std::vector<Shape> shapes{{input_channels_, height, width}};
  for (const Step& step : steps_) {
    const Shape shape = step.runs->output_shape(shapes_of(step, shapes));
    require(shape.channels <= kLargest && shape.height <= kLargest && shape.width <= kLargest,
            "the input is too large for this model; give a smaller one");
    shapes.push_back(shape);
  }
  return shapes;
}

std::vector<Output> Network::infer(int64_t height, int64_t width) const {
  const std::vector<Shape> shapes = infer_values(height, width);
  std::vector<Output> outputs;
  for (const Fetch& fetch : outputs_) {
    const Shape& shape = shapes[fetch.value];
    require(fetch.rank == 4 || (may_equal(shape.height, 1) && may_equal(shape.width, 1)),
            "an output of rank 2 is a plane here; the model file is damaged: convert it again");
    outputs.push_back({shape, fetch.rank});
  }
  return outputs;
}

Model::Model(const std::string& plan, const Parameters& parameters, int threads)
    : Model(parse_plan(plan), parameters, threads) {}

Model::Model(const Plan& plan, const Parameters& parameters, int threads)
    : kernels_(select_kernels()),
      network_(plan),
      teams_(threads) {
  require(threads >= 1 && threads <= kMostThreads, "threads must be in [1, ", kMostThreads, "], got ", threads);
  require(parameters.are_of(plan.head),
          "the plan and its parameters are not those that were converted (their digest differs); the file is damaged "
          "or belongs to another model: convert it again");
  network_.load(plan, {parameters, kernels_, threads});
}

void Model::prepare(Workspace& workspace, const std::vector<Shape>& shapes) const {
  if (workspace.shapes == shapes) return;
  workspace.shapes.clear();  // stays empty if memory runs out
  workspace.layout = lay_out(network_.bytes_for(shapes), network_.lifetimes());
  workspace.arena.reserve(workspace.layout.bytes);
  workspace.shapes = shapes;
}

void Model::prepare_scratch(Team& team, const std::vector<Shape>& shapes) const {
  int64_t bytes = 1;
  for (const Step& step : network_.steps())
    if (!step.fused_away) bytes = std::max(bytes, step.runs->scratch_bytes(shapes_of(step, shapes)));
  team.scratch_memory.resize(static_cast<size_t>(teams_.threads()));
  team.scratch.clear();
  for (Arena& memory : team.scratch_memory) {
    memory.reserve(bytes + 2 * kGuardBytes);
    team.scratch.push_back(memory.data() + kGuardBytes);
  }
}

Value Model::value_of(const Workspace& workspace, size_t value) const {
  const Format format = network_.format_of(value);
  return {workspace.arena.data() + workspace.layout.offset[value], workspace.shapes[value], format.type,
          format.quantization};
}

void Model::run_sample(Workspace& workspace, const std::vector<uint8_t*>& scratch, ThreadPool* pool, const float* input,
                       int64_t sample, const std::vector<float*>& outputs) const {
  Value first = value_of(workspace, 0);
  std::atomic<bool> lost_nan{false};
  input += sample * first.shape.values();
  if (network_.input_is_read_in_place() && first.shape.pixels() > 1 && first.pitch() == first.shape.pixels()) {
    first.data = const_cast<float*>(input);  // nobody writes to it
  } else {
    spread(input, first);
  }
  const std::vector<Step>& steps = network_.steps();
  for (size_t i = 0; i < steps.size(); ++i) {
    if (steps[i].fused_away) continue;
    Context context{kernels_, pool, scratch, lost_nan, {}, value_of(workspace, i + 1)};
    for (const size_t value : steps[i].inputs)
      context.inputs.push_back(value == 0 ? first : value_of(workspace, value));
    steps[i].runs->run(context);
  }
  copy_outputs(workspace, sample, lost_nan, outputs);
}

// int8 has no NaN: where one was to be quantized, all outputs of the sample become NaN, as float32 would mostly make
// them.
void Model::copy_outputs(const Workspace& workspace, int64_t sample, bool lost_nan,
                         const std::vector<float*>& outputs) const {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Value value = value_of(workspace, network_.outputs()[i].value);
    float* const to = outputs[i] + sample * value.shape.values();
    if (lost_nan)
      std::fill(to, to + value.shape.values(), std::numeric_limits<float>::quiet_NaN());
    else
      gather(value, to);
  }
}

void Model::run(const float* input, int64_t batch, int64_t height, int64_t width,
                const std::vector<float*>& outputs) const {
  require(batch >= 1 && height >= 1 && width >= 1 && height <= kLargest && width <= kLargest,
          "the input must have at least one sample and one pixel, got ", batch, " of ", height, " x ", width);
  network_.infer(height, width);  // refuses what does not fit
  const std::vector<Shape> shapes = network_.infer_values(height, width);
  const Teams::Borrowed borrowed(teams_);
  Team& team = borrowed.team();
  prepare_scratch(team, shapes);
  // Whole samples for each thread need no meeting between layers, but the samples have to come out even.
  const int threads = teams_.threads();
  const bool share_samples = threads > 1 && (batch % threads == 0 || batch >= 4 * threads);
  if (!share_samples) {
    prepare(team.workspaces[0], shapes);
    for (int64_t sample = 0; sample < batch; ++sample)
      run_sample(team.workspaces[0], team.scratch, &team.pool, input, sample, outputs);
    return;
  }
  for (Workspace& workspace : team.workspaces) prepare(workspace, shapes);
  team.pool.run(batch, [&](int64_t sample, int worker) {
    Workspace& workspace = team.workspaces[static_cast<size_t>(worker)];
    const std::vector<uint8_t*> scratch{team.scratch[static_cast<size_t>(worker)]};
    run_sample(workspace, scratch, nullptr, input, sample, outputs);
  });
}

}  // namespace paddle_unstructured
