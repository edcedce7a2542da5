#include "model.h"

#include <algorithm>

#include "dispatch.h"
#include "error.h"

namespace paddle_unstructured {
namespace {

constexpr int kMostThreads = 256;

size_t read_value(const Node& node, int64_t value, size_t made) {
  if (value < 0 || static_cast<size_t>(value) >= made) node.refuse("reads a value that is not made before it");
  return static_cast<size_t>(value);
}

size_t count_inputs(const std::string& kind) { return kind == "add" || kind == "multiply" ? 2 : 1; }

// Dense [channels, pixels] into planes with their own pitch, and back.
void spread(const float* from, const Activations& to) {
  const int64_t pixels = to.shape.pixels();
  for (int64_t channel = 0; channel < to.shape.channels; ++channel, from += pixels)
    std::copy(from, from + pixels, to.plane(channel));
}

void gather(const Activations& from, float* to) {
  for (int64_t channel = 0; channel < from.shape.channels; ++channel)
    to = std::copy(from.plane(channel), from.plane(channel) + from.shape.pixels(), to);
}

Activations value_of(const Workspace& workspace, size_t value) {
  return {workspace.arena.data() + workspace.layout.offset[value], workspace.shapes[value]};
}

}  // namespace

Model::Model(const std::string& text, const Parameters& parameters, int threads)
    : kernels_(select_kernels()), threads_(threads), input_rank_(0), input_channels_(0) {
  require(threads >= 1 && threads <= kMostThreads, "threads must be in [1, ", kMostThreads, "], got ", threads);
  const Plan plan = parse_plan(text);
  require(plan.digest == parameters.digest(),
          "the parameters are not those that this model was converted with (their digest differs); the file is damaged "
          "or belongs to another model: convert it again");
  input_rank_ = plan.input.integer("rank", 2, 4);
  input_channels_ = plan.input.integer("channels", 1, kLargest);
  if (input_rank_ == 3) plan.input.refuse("has rank 3");
  add_steps(plan, {parameters, kernels_, threads});
  for (const Node& node : plan.outputs) {
    const size_t value = read_value(node, node.integers("from", 1, 0, INT32_MAX)[0], steps_.size() + 1);
    outputs_.push_back({value, node.integer("rank", 2, 4)});
  }
  find_lifetimes();
  infer(input_rank_ == 2 ? 1 : kUnknown, input_rank_ == 2 ? 1 : kUnknown);
}

void Model::add_steps(const Plan& plan, const LoadContext& load) {
  for (const Node& node : plan.nodes) {
    Step step;
    for (const int64_t value : node.integers("from")) step.inputs.push_back(read_value(node, value, steps_.size() + 1));
    const bool fits = node.kind() == "concat" ? !step.inputs.empty() : step.inputs.size() == count_inputs(node.kind());
    if (!fits) node.refuse("reads another number of values than its kind does");
    step.operation = make_operation(node, load);
    steps_.push_back(std::move(step));
  }
}

// Value i + 1 is made by step i; here steps are counted from 1, so that value and step have the same number.
void Model::find_lifetimes() {
  lifetimes_.last_use.resize(steps_.size() + 1);
  for (size_t value = 0; value <= steps_.size(); ++value) lifetimes_.last_use[value] = static_cast<int64_t>(value);
  for (size_t i = 0; i < steps_.size(); ++i)
    for (const size_t value : steps_[i].inputs) lifetimes_.last_use[value] = static_cast<int64_t>(i) + 1;
  for (const Fetch& fetch : outputs_) lifetimes_.last_use[fetch.value] = static_cast<int64_t>(steps_.size()) + 1;
}

std::vector<Shape> Model::infer_values(int64_t height, int64_t width) const {
  std::vector<Shape> shapes{{input_channels_, height, width}};
  for (const Step& step : steps_) {
    std::vector<Shape> inputs;
    for (const size_t value : step.inputs) inputs.push_back(shapes[value]);
    const Shape shape = step.operation->output_shape(inputs);
    require(shape.channels <= kLargest && shape.height <= kLargest && shape.width <= kLargest,
            "the input is too large for this model; give a smaller one");
    shapes.push_back(shape);
  }
  return shapes;
}

std::vector<Output> Model::infer(int64_t height, int64_t width) const {
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

void Model::prepare(Workspace& workspace, const std::vector<Shape>& shapes) const {
  if (workspace.shapes == shapes) return;
  workspace.shapes.clear();  // stays empty if memory runs out
  workspace.layout = lay_out(shapes, lifetimes_);
  workspace.arena.reserve(workspace.layout.floats);
  workspace.shapes = shapes;
}

void Model::prepare_scratch(Team& team, const std::vector<Shape>& shapes) const {
  int64_t floats = 1;
  for (const Step& step : steps_) {
    std::vector<Shape> inputs;
    for (const size_t value : step.inputs) inputs.push_back(shapes[value]);
    floats = std::max(floats, step.operation->scratch_floats(inputs));
  }
  team.scratch_memory.resize(static_cast<size_t>(threads_));
  team.scratch.clear();
  for (Arena& memory : team.scratch_memory) {
    memory.reserve(floats + 2 * kGuard);
    team.scratch.push_back(memory.data() + kGuard);
  }
}

void Model::run_sample(Workspace& workspace, const std::vector<float*>& scratch, ThreadPool* pool,
                       const float* input) const {
  spread(input, value_of(workspace, 0));
  for (size_t i = 0; i < steps_.size(); ++i) {
    Context context{kernels_, pool, scratch, {}, value_of(workspace, i + 1)};
    for (const size_t value : steps_[i].inputs) context.inputs.push_back(value_of(workspace, value));
    steps_[i].operation->run(context);
  }
}

void Model::copy_outputs(const Workspace& workspace, int64_t sample, const std::vector<float*>& outputs) const {
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const Activations value = value_of(workspace, outputs_[i].value);
    gather(value, outputs[i] + sample * value.shape.values());
  }
}

class Model::Borrowed {
 public:
  explicit Borrowed(const Model& model) : model_(model) {
    const std::lock_guard<std::mutex> lock(model.mutex_);
    if (model.idle_.empty()) {
      team_ = std::make_unique<Team>(model.threads_);
    } else {
      team_ = std::move(model.idle_.back());
      model.idle_.pop_back();
    }
  }
  ~Borrowed() {
    const std::lock_guard<std::mutex> lock(model_.mutex_);
    model_.idle_.push_back(std::move(team_));
  }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  Team& team() const { return *team_; }

 private:
  const Model& model_;
  std::unique_ptr<Team> team_;
};

void Model::run(const float* input, int64_t batch, int64_t height, int64_t width,
                const std::vector<float*>& outputs) const {
  require(batch >= 1 && height >= 1 && width >= 1 && height <= kLargest && width <= kLargest,
          "the input must have at least one sample and one pixel, got ", batch, " of ", height, " x ", width);
  infer(height, width);
  const std::vector<Shape> shapes = infer_values(height, width);
  const int64_t sample_floats = shapes[0].values();
  const Borrowed borrowed(*this);
  Team& team = borrowed.team();
  prepare_scratch(team, shapes);
  // Whole samples for each thread need no meeting between layers, but the samples have to come out even.
  const bool share_samples = threads_ > 1 && (batch % threads_ == 0 || batch >= 4 * threads_);
  if (!share_samples) {
    prepare(team.workspaces[0], shapes);
    for (int64_t sample = 0; sample < batch; ++sample) {
      run_sample(team.workspaces[0], team.scratch, &team.pool, input + sample * sample_floats);
      copy_outputs(team.workspaces[0], sample, outputs);
    }
    return;
  }
  for (Workspace& workspace : team.workspaces) prepare(workspace, shapes);
  team.pool.run(batch, [&](int64_t sample, int worker) {
    Workspace& workspace = team.workspaces[static_cast<size_t>(worker)];
    const std::vector<float*> scratch{team.scratch[static_cast<size_t>(worker)]};
    run_sample(workspace, scratch, nullptr, input + sample * sample_floats);
    copy_outputs(workspace, sample, outputs);
  });
}

}  // namespace paddle_unstructured
