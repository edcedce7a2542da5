// SPDX-License-Identifier: Apache-2.0
#include "model.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "error.h"
#include "kinds.h"

namespace paddle_unstructured {
namespace {

constexpr int kMostThreads = 256;

size_t read_value(const Node& node, int64_t value, size_t made) {
  if (value < 0 || static_cast<size_t>(value) >= made) node.refuse("reads a value that is not made before it");
  return static_cast<size_t>(value);
}

int64_t now() {
  const auto time = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
}

std::vector<Shape> shapes_of(const Step& step, const std::vector<Shape>& shapes) {
  std::vector<Shape> inputs;
  for (const size_t value : step.inputs) inputs.push_back(shapes[value]);
  return inputs;
}

}  // namespace

Network::Network(const Plan& plan) {
  for (const Node& node : plan.inputs) inputs_.emplace_back(node);
  for (const Input& input : inputs_) is_read_in_place_.push_back(input.is_planar());
  for (const Node& node : plan.nodes) add_step(node);
  for (const Node& node : plan.outputs) {
    outputs_.emplace_back(node, inputs_.size() + steps_.size());
    const size_t value = outputs_.back().value();
    if (is_input(value)) is_read_in_place_[value] = false;
    if (const Type type = format_of(value).type; type != Type::kFloat32)
      node.refuse("returns " + std::string(name_of(type)));
  }
  fuse_steps();
  find_lifetimes();
  std::vector<Tensor> declared;
  for (const Input& input : inputs_) declared.push_back(input.declared());
  infer(declared);
}

void Network::add_step(const Node& node) {
  Step step;
  for (const int64_t value : node.integers("from"))
    step.inputs.push_back(read_value(node, value, inputs_.size() + steps_.size()));
  const Kind& kind = find_kind(node);
  if (kind.inputs != kAnyNumber && step.inputs.size() != static_cast<size_t>(kind.inputs))
    node.refuse("reads another number of values than its kind does");
  step.operation = kind.make(node);
  std::vector<Format> formats;
  for (const size_t value : step.inputs) {
    formats.push_back(format_of(value));
    if (formats.back().type != kind.reads)
      node.refuse(std::string("takes ") + name_of(kind.reads) + ", and reads " + name_of(formats.back().type));
    if (is_input(value) && !step.operation->reads_pixels_only()) is_read_in_place_[value] = false;
  }
  step.makes = step.operation->accept(node, formats);
  step.runs = step.operation;
  steps_.push_back(std::move(step));
}

bool Network::is_read_once(size_t value) const {
  int64_t readers = 0;
  for (const Step& step : steps_) readers += std::count(step.inputs.begin(), step.inputs.end(), value);
  for (const Output& output : outputs_) readers += 2 * (output.value() == value);
  return readers == 1;
}

void Network::fuse_steps() {
  for (Step& second : steps_) {
    if (second.inputs.size() != 1 || is_input(second.inputs[0]) || !is_read_once(second.inputs[0])) continue;
    Step& first = steps_[second.inputs[0] - inputs_.size()];
    const std::shared_ptr<Operation> both = fuse(first.operation, second.operation);
    if (both == nullptr) continue;
    second.runs = both;
    second.inputs = first.inputs;
    first.fused_away = true;
  }
}

// Inputs are made first, one after the other; here each value is made by the step of its own number.
void Network::find_lifetimes() {
  const size_t values = inputs_.size() + steps_.size();
  lifetimes_.last_use.resize(values);
  for (size_t value = 0; value < values; ++value) lifetimes_.last_use[value] = static_cast<int64_t>(value);
  for (size_t value = inputs_.size(); value < values; ++value) {
    if (step_of(value).fused_away) {
      lifetimes_.last_use[value] = Lifetimes::kNever;
      continue;
    }
    for (const size_t read : step_of(value).inputs) lifetimes_.last_use[read] = static_cast<int64_t>(value);
  }
  for (const Output& output : outputs_) lifetimes_.last_use[output.value()] = static_cast<int64_t>(values);
  lifetimes_.takes_place_of.assign(values, Lifetimes::kNobody);
  for (size_t value = inputs_.size(); value < values; ++value)
    if (!step_of(value).fused_away) lifetimes_.takes_place_of[value] = place_of_an_input(value);
}

// The input of the step that makes `value` whose place it takes, or kNobody.
int64_t Network::place_of_an_input(size_t value) const {
  const Step& step = step_of(value);
  const int which = step.runs->overwrites();
  if (which < 0 || static_cast<size_t>(which) >= step.inputs.size()) return Lifetimes::kNobody;
  const size_t read = step.inputs[static_cast<size_t>(which)];
  const bool dies = lifetimes_.last_use[read] == static_cast<int64_t>(value) &&
                    std::count(step.inputs.begin(), step.inputs.end(), read) == 1;
  const bool fits = !is_input(read) && format_of(read).type == format_of(value).type;
  return dies && fits ? static_cast<int64_t>(read) : Lifetimes::kNobody;
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

int64_t Network::batch(const std::vector<Tensor>& given) const {
  int64_t batch = kUnknown;
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const int64_t own = inputs_[i].batch(given[i]);
    require(may_equal(batch, own), "the inputs must be of equally many samples, got ", batch, " and, of ",
            inputs_[i].name(), ", ", own);
    if (own != kUnknown) batch = own;
  }
  return batch;
}

std::vector<Shape> Network::infer_values(const std::vector<Tensor>& given) const {
  require(given.size() == inputs_.size(), "the model has ", inputs_.size(), " inputs, got ", given.size());
  std::vector<Shape> shapes;
  for (size_t i = 0; i < inputs_.size(); ++i) shapes.push_back(inputs_[i].shape(given[i]));
  for (const Step& step : steps_) shapes.push_back(step.runs->output_shape(shapes_of(step, shapes)));
  for (const Shape& shape : shapes)
    require(shape.channels <= kLargest && shape.height <= kLargest && shape.width <= kLargest,
            "the input is too large for this model; give a smaller one");
  return shapes;
}

std::vector<Tensor> Network::infer(const std::vector<Tensor>& given) const {
  const std::vector<Shape> shapes = infer_values(given);
  const int64_t samples = batch(given);
  std::vector<Tensor> tensors;
  for (const Output& output : outputs_) tensors.push_back(output.tensor(shapes[output.value()], samples));
  return tensors;
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
  network_.load(plan, {parameters, kernels_, threads, memory_});
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

// The planes of an input: its tensor as it lies, or copied.
Value Model::input_of(const Context& context, const Workspace& workspace, size_t input, const Given& given,
                      int64_t sample) const {
  Value planes = value_of(workspace, input);
  const Input& how = network_.inputs()[input];
  if (network_.is_read_in_place(input) && planes.shape.pixels() > 1 && planes.pitch() == planes.shape.pixels()) {
    const auto* const first = static_cast<const float*>(given.data);
    planes.data = const_cast<float*>(first + (how.is_shared() ? 0 : sample * planes.shape.values()));  // only read
  } else {
    how.spread(context, given.tensor, given.data, sample, planes);
  }
  return planes;
}

void Model::run_sample(Workspace& workspace, const std::vector<uint8_t*>& scratch, ThreadPool* pool, const Run& run,
                       int64_t sample, int64_t* nanoseconds) const {
  std::atomic<bool> lost_nan{false};
  const Context border{kernels_, pool, scratch, lost_nan, {}, {}};
  std::vector<Value> inputs;
  for (size_t i = 0; i < run.inputs.size(); ++i)
    inputs.push_back(input_of(border, workspace, i, run.inputs[i], sample));
  const std::vector<Step>& steps = network_.steps();
  for (size_t i = 0; i < steps.size(); ++i) {
    if (steps[i].fused_away) continue;
    Context context{kernels_, pool, scratch, lost_nan, {}, value_of(workspace, inputs.size() + i)};
    for (const size_t value : steps[i].inputs)
      context.inputs.push_back(network_.is_input(value) ? inputs[value] : value_of(workspace, value));
    if (nanoseconds == nullptr) {
      steps[i].runs->run(context);
    } else {
      const int64_t begun = now();
      steps[i].runs->run(context);
      nanoseconds[i] += now() - begun;
    }
  }
  // int8 has no NaN: where one was to be quantized, all outputs of the sample become NaN, as float32 would mostly make
  // them.
  for (size_t i = 0; i < run.outputs.size(); ++i) {
    const Output& output = network_.outputs()[i];
    output.gather(border, value_of(workspace, output.value()), run.batch, sample, lost_nan, run.outputs[i]);
  }
}

void Model::run(const std::vector<Given>& inputs, const std::vector<void*>& outputs, int64_t* nanoseconds) const {
  std::vector<Tensor> given;
  for (const Given& each : inputs) {
    given.push_back(each.tensor);
    for (const int64_t extent : each.tensor.dims)
      require(extent >= 0, "the input must have sizes that are known, got ", describe(each.tensor));
  }
  network_.infer(given);  // refuses what does not fit
  require(network_.batch(given) >= 0, "the model's plan has no input with samples");
  if (network_.batch(given) == 0) return;  // nor have the outputs any
  for (size_t i = 0; i < inputs.size(); ++i) network_.inputs()[i].check_numbers(given[i], inputs[i].data);
  const std::vector<Shape> shapes = network_.infer_values(given);
  const int64_t batch = network_.batch(given);
  const Run run{inputs, outputs, batch};
  const size_t steps = network_.steps().size();
  const Teams::Borrowed borrowed(teams_);
  Team& team = borrowed.team();
  prepare_scratch(team, shapes);
  // Whole samples for each thread need no meeting between layers, but the samples have to come out even.
  const int threads = teams_.threads();
  const bool share_samples = threads > 1 && (batch % threads == 0 || batch >= 4 * threads);
  if (!share_samples) {
    prepare(team.workspaces[0], shapes);
    if (nanoseconds != nullptr) std::fill_n(nanoseconds, steps, 0);
    for (int64_t sample = 0; sample < batch; ++sample)
      run_sample(team.workspaces[0], team.scratch, &team.pool, run, sample, nanoseconds);
    return;
  }
  std::vector<int64_t> taken(nanoseconds == nullptr ? 0 : steps * static_cast<size_t>(threads));
  for (Workspace& workspace : team.workspaces) prepare(workspace, shapes);
  team.pool.run(batch, [&](int64_t sample, int worker) {
    Workspace& workspace = team.workspaces[static_cast<size_t>(worker)];
    const std::vector<uint8_t*> scratch{team.scratch[static_cast<size_t>(worker)]};
    int64_t* const own = taken.empty() ? nullptr : &taken[static_cast<size_t>(worker) * steps];
    run_sample(workspace, scratch, nullptr, run, sample, own);
  });
  if (nanoseconds == nullptr) return;
  std::fill_n(nanoseconds, steps, 0);
  for (size_t i = 0; i < taken.size(); ++i) nanoseconds[i % steps] += taken[i] / threads;
}

}  // namespace paddle_unstructured
