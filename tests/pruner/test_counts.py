# SPDX-License-Identifier: Apache-2.0
"""Rank, not threshold: exact numbers, and masks that are a state of their own."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from nets import Net, linear, two_linears
from small_pruned_nets import TWO, adam, momentum, table, two

from paddle_unstructured import (
    Global,
    UnstructuredPruner,
)

pytestmark = pytest.mark.usefixtures("static")


@pytest.mark.parametrize("ratio", [0.0, 0.01, 0.1, 0.33, 0.5, 0.55, 0.99, 1.0])
@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_exactly_round_of_ratio_times_n_weights_are_pruned(ratio, floor):
    net = two()
    net.train(pruner := UnstructuredPruner(net.program, ratio=ratio, allocation=Global(floor)))
    assert net.zeros(*TWO) == round(ratio * 36)
    assert pruner.sparsity() == round(ratio * 36) / 36


def test_equal_weights_fall_in_stored_order():
    net = Net(linear(2, 3), [3, 2])
    net.put("linear_0.w_0", np.full([2, 3], 0.1))
    UnstructuredPruner(net.program, ratio=0.5).step()
    assert (net.get("linear_0.w_0") != 0).tolist() == [[False] * 3, [True] * 3]


def test_equal_weights_of_two_layers_fall_in_the_order_of_the_program():
    net = two(None)
    for weight in TWO:
        net.put(weight, np.full(net.get(weight).shape, -0.1))
    UnstructuredPruner(net.program, ratio=0.75, allocation=Global(floor=0)).step()
    assert (net.zeros(TWO[0]), net.zeros(TWO[1])) == (24, 3)


def test_the_lowest_magnitudes_fall():
    net = Net(linear(2, 3), [3, 2])
    net.put("linear_0.w_0", [[0.5, -0.1, 3.0], [-4.0, 0.2, -0.3]])
    UnstructuredPruner(net.program, ratio=0.5).step()
    assert net.get("linear_0.w_0").tolist() == np.array([[0.5, 0, 3.0], [-4.0, 0, 0]], "float32").tolist()


def test_float64_weights_are_told_apart_beyond_float32():
    net = Net(linear(2, 2), [3, 2], dtype="float64")
    net.put("linear_0.w_0", [[1 + 3e-12, 1 + 1e-12], [1 + 2e-12, 1.0]])
    UnstructuredPruner(net.program, ratio=0.5).step()
    assert (net.get("linear_0.w_0") == 0).tolist() == [[False, True], [False, True]]


def test_weights_read_only_inside_a_loop_are_pruned_and_stay_sparse():
    def loop(x):
        layer, x.stop_gradient = paddle.nn.Linear(4, 4), False  # Paddle gives the layer no gradient otherwise
        return paddle.static.nn.while_loop(
            lambda i, h: i < 3, lambda i, h: [i + 1, paddle.tanh(layer(h))], [paddle.zeros([1], "int64"), x]
        )[1]

    net = Net(loop, [3, 4], momentum)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner)
    for _ in range(3):
        before = net.get("linear_0.w_0")
        net.run()
        assert net.zeros("linear_0.w_0") == 8
        assert (net.get("linear_0.w_0") != before).any()


def test_a_recurrent_net_is_pruned_and_stays_sparse():
    net = Net(lambda x: paddle.nn.LSTM(4, 5)(x)[0], [3, 2, 4], adam)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    names = list(pruner.masks)
    net.train(pruner)
    net.run()
    assert net.zeros(*names) == 90  # of 80 + 100


def test_a_net_in_mixed_precision_is_pruned():
    """Its training crashes inside Paddle 3.3.1 on CPU, so this is its inference."""

    def mixed(x):
        with paddle.amp.auto_cast(level="O1", dtype="bfloat16"):
            x = two_linears(x)
        return x.cast("float32")

    net = Net(mixed, [3, 4])
    net.train(UnstructuredPruner(net.program, ratio=0.5))
    assert np.isfinite(net.run()[0]) and net.zeros(*TWO) == 18


@pytest.mark.parametrize("branch", ["taken", "not taken"])
def test_weights_read_only_inside_a_branch_are_pruned_and_stay_sparse(branch):
    def branches(x):
        layer = paddle.nn.Linear(4, 4)
        condition = paddle.full([1], branch == "taken", "bool")
        return paddle.static.nn.cond(condition, lambda: layer(x), lambda: x * 2.0)

    net = Net(branches, [3, 4], momentum)
    net.train(UnstructuredPruner(net.program, ratio=0.5))
    net.run()
    assert net.zeros("linear_0.w_0") == 8


def test_a_zero_initialised_layer_trains():
    """PaddleSlim's mask is (weight != 0): such a layer would be masked at the first step for ever."""
    zeros = paddle.ParamAttr(initializer=paddle.nn.initializer.Constant(0.0))
    net = Net(linear(4, 4, weight_attr=zeros), [3, 4], momentum)
    net.train(UnstructuredPruner(net.program, schedule=table(0.0, 0.0, 0.5)), 2)
    assert net.zeros("linear_0.w_0") == 0


def test_a_zero_initialised_layer_loses_exactly_the_asked_half_and_the_other_half_trains():
    zeros = paddle.ParamAttr(initializer=paddle.nn.initializer.Constant(0.0))
    net = Net(linear(4, 4, weight_attr=zeros), [3, 4], momentum)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    pruner.step()
    assert int((net.get("linear_0.w_0_mask") == 0).sum()) == 8
    net.run()
    assert net.zeros("linear_0.w_0") == 8


def test_set_static_masks_takes_the_zeros_of_a_pruned_model():
    net = two()
    pruner = UnstructuredPruner(net.program, ratio=0.0)
    weight = net.get(TWO[0])
    weight[1:3] = 0
    net.put(TWO[0], weight)
    pruner.set_static_masks()
    assert pruner.sparsity() == 12 / 36
    net.train(pruner, 3)
    assert (net.get(TWO[0]) == 0).tolist() == (weight == 0).tolist()
    assert net.zeros(TWO[1]) == 0


def test_set_static_masks_warns_of_a_layer_that_is_zero_altogether(caplog):
    net = two()
    net.put(TWO[1], np.zeros([6, 2]))
    UnstructuredPruner(net.program, ratio=0.0).set_static_masks()
    assert f"no weight is left in {TWO[1]}" in caplog.text
