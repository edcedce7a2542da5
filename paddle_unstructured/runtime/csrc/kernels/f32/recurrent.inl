// SPDX-License-Identifier: Apache-2.0
// What a step of a recurrent layer makes of its gates, each [hidden]: sums of what comes from the input and from the
// last state.
//
//   for each vector of the state: all gates, the cell, the state            lstm, gru

namespace paddle_unstructured::f32 {
namespace {

void lstm(const RecurrentStep& task) {
  for (int64_t i = 0; i < task.hidden; i += kLanes) {
    const auto gate = [&](int which) {
      return load(task.gates + which * task.hidden + i) + load(task.product + which * task.hidden + i);
    };
    const Vec in = sigmoid(gate(0)), forget = sigmoid(gate(1)), candidate = hyperbolic_tangent(gate(2));
    const Vec cell = forget * load(task.cell + i) + in * candidate;
    const int lanes = static_cast<int>(task.hidden - i < kLanes ? task.hidden - i : kLanes);
    store_first(task.cell + i, cell, lanes);
    store_first(task.state + i, sigmoid(gate(3)) * hyperbolic_tangent(cell), lanes);
  }
}

void gru(const RecurrentStep& task) {
  for (int64_t i = 0; i < task.hidden; i += kLanes) {
    const auto x = [&](int which) { return load(task.gates + which * task.hidden + i); };
    const auto product = [&](int which) { return load(task.product + which * task.hidden + i); };
    const Vec reset = sigmoid(x(0) + product(0)), update = sigmoid(x(1) + product(1));
    const Vec candidate = hyperbolic_tangent(x(2) + reset * product(2));
    store_first(task.state + i, (load(task.state + i) - candidate) * update + candidate,
                static_cast<int>(task.hidden - i < kLanes ? task.hidden - i : kLanes));
  }
}

}  // namespace
}  // namespace paddle_unstructured::f32
