// SPDX-License-Identifier: Apache-2.0
// LSTM, GRU and simple recurrent layers, one direction each. What the input adds to the gates is a 1x1 convolution over
// the sequence before this; what is left is a step for each pixel, with a matrix of recurrent weights:
//
//   lstm:  i, f, g, o = x + W h;  c = sigmoid(f) c + sigmoid(i) tanh(g);  h = sigmoid(o) tanh(c)
//   gru:   r, z, n = x, W h;  n = tanh(x_n + sigmoid(r) (W h)_n);  h = (h - n) sigmoid(z) + n
//   tanh, relu:  h = act(x + W h)
//
// Reads the gates, then the first states (initial=1: h, and c of an LSTM), then how many steps count (length=1).
// Makes the states of all steps; with states=1 one pixel more, the last state, and the channels of c behind those of h.

#include <algorithm>

#include "../../error.h"
#include "matrix.h"

namespace paddle_unstructured::f32 {
namespace {

constexpr int64_t kSteps = kPlaneAlign;  // that are turned from planes into vectors together

const Activation kTanh{ActivationKind::kTanh, 0, 0};
const Activation kRelu{ActivationKind::kClamp, 0, __builtin_inff()};

class Recurrent : public Operation {
 public:
  explicit Recurrent(const Node& node)
      : size_(node),
        mode_(mode_of(node)),
        reverse_(node.has("reverse") && node.integer("reverse", 0, 1) == 1),
        initial_(node.has("initial") && node.integer("initial", 0, 1) == 1),
        length_(node.has("length") && node.integer("length", 0, 1) == 1),
        states_(node.has("states") && node.integer("states", 0, 1) == 1) {
    if (size_.outputs != int64_t{hidden()} * gates() || !size_.is_plain())
      node.refuse("has recurrent weights of another size than its gates");
    if (node.integers("from").size() != first_length() + length_)
      node.refuse("reads another number of values than it says");
  }

  void load(const Node& node, const LoadContext& context) override { matrix_ = load_matrix(node, context, size_); }

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    require(may_equal(inputs[0].channels, size_.outputs), "a recurrent layer with ", size_.outputs, " gates got ",
            inputs[0].channels);
    for (size_t i = 1; i < inputs.size(); ++i)
      require(may_equal(inputs[i].channels, i < first_length() ? hidden() : 1) && may_equal(inputs[i].height, 1) &&
                  may_equal(inputs[i].width, 1),
              "a recurrent layer got first states or a length of another size");
    if (!states_) return {hidden(), inputs[0].height, inputs[0].width};
    const bool known = inputs[0].height != kUnknown && inputs[0].width != kUnknown;
    return {int64_t{hidden()} * (has_cell() ? 2 : 1), 1, known ? inputs[0].pixels() + 1 : kUnknown};
  }

  int64_t scratch_bytes(const std::vector<Shape>&) const override {
    return ((kSteps + 1) * pitch(size_.outputs) + (2 * kSteps + 2) * pitch(hidden())) * int64_t{sizeof(float)};
  }

  void run(const Context& context) const override {
    float* scratch = context.scratch<float>(0);
    const auto take = [&](int64_t count) {
      float* const piece = scratch;
      scratch += count;
      return piece;
    };
    const int64_t wide = pitch(size_.outputs), state = pitch(hidden()), made = has_cell() && states_ ? 2 : 1;
    float *const gates = take(kSteps * wide), *const made_states = take(kSteps * 2 * state);
    const State now{take(state), take(state), take(wide)};
    begin(context, now);
    const Value &input = context.inputs[0], &output = context.output;
    const int64_t pixels = input.shape.pixels(), steps = length_of(context, pixels);
    const int64_t blocks = (pixels + kSteps - 1) / kSteps;
    for (int64_t i = 0; i < blocks; ++i) {
      const int64_t first = (reverse_ ? blocks - 1 - i : i) * kSteps, count = std::min(kSteps, pixels - first);
      context.kernels.f32.transpose(input.floats() + first, input.pitch(), gates, wide, size_.outputs, count);
      for (int64_t j = 0; j < count; ++j) {
        const int64_t at = reverse_ ? count - 1 - j : j;
        float* const to = made_states + at * 2 * state;
        if (first + at < steps) {
          step(context, gates + at * wide, now);
          std::copy(now.h, now.h + hidden(), to);
        } else {
          std::fill(to, to + hidden(), 0.0f);
        }
        if (made == 2) std::copy(now.c, now.c + hidden(), to + hidden());
      }
      context.kernels.f32.transpose(made_states, 2 * state, output.floats() + first, output.pitch(), count,
                                    made * hidden());
    }
    if (!states_) return;
    for (int64_t c = 0; c < hidden(); ++c) {
      output.channel(c)[pixels] = now.h[c];
      if (has_cell()) output.channel(hidden() + c)[pixels] = now.c[c];
    }
  }

 private:
  enum class Mode { kLstm, kGru, kTanh, kRelu };

  struct State {
    float *h, *c;
    float* product;  // W h
  };

  static Mode mode_of(const Node& node) {
    const std::string& mode = node.text("mode");
    if (mode == "lstm") return Mode::kLstm;
    if (mode == "gru") return Mode::kGru;
    if (mode == "tanh") return Mode::kTanh;
    if (mode != "relu") node.refuse("has an unknown mode: " + mode);
    return Mode::kRelu;
  }

  static int64_t pitch(int64_t count) { return round_up(count, kPlaneAlign) + kPlaneAlign; }
  int32_t hidden() const { return size_.channels; }
  int32_t gates() const { return mode_ == Mode::kLstm ? 4 : mode_ == Mode::kGru ? 3 : 1; }
  bool has_cell() const { return mode_ == Mode::kLstm; }
  size_t first_length() const { return 1 + (initial_ ? has_cell() ? 2 : 1 : 0); }

  int64_t length_of(const Context& context, int64_t pixels) const {
    if (!length_) return pixels;
    const float given = context.inputs[first_length()].floats()[0];
    return given >= static_cast<float>(pixels) ? pixels : given > 0 ? static_cast<int64_t>(given) : 0;
  }

  void begin(const Context& context, const State& now) const {
    std::fill(now.h, now.h + hidden(), 0.0f);
    std::fill(now.c, now.c + hidden(), 0.0f);
    if (!initial_) return;
    const float* const h = context.inputs[1].floats();
    std::copy(h, h + hidden(), now.h);
    if (!has_cell()) return;
    const float* const c = context.inputs[2].floats();
    std::copy(c, c + hidden(), now.c);
  }

  // `x`: what the input adds to the gates.
  void step(const Context& context, const float* x, const State& now) const {
    const KernelTable& kernels = context.kernels.f32;
    for (int32_t slice = 0; slice < matrix_->slices(); ++slice)
      matrix_->multiply_vector(kernels, slice, now.h, now.product);
    const RecurrentStep task{x, now.product, now.c, now.h, hidden()};
    if (mode_ == Mode::kLstm) return kernels.lstm(task);
    if (mode_ == Mode::kGru) return kernels.gru(task);
    kernels.pair(Pair::kAdd, Repeated::kNone, x, now.product, now.h, hidden());
    kernels.activate(mode_ == Mode::kTanh ? kTanh : kRelu, now.h, now.h, hidden());
  }

  ConvolutionSize size_;  // of the recurrent weights, as those of a linear layer
  Mode mode_;
  bool reverse_, initial_, length_, states_;
  std::unique_ptr<Matrix> matrix_;
};

}  // namespace

std::unique_ptr<Operation> make_recurrent(const Node& node) { return std::make_unique<Recurrent>(node); }

}  // namespace paddle_unstructured::f32
