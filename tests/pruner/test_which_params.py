# SPDX-License-Identifier: Apache-2.0
"""Which params are pruned; nobody is silently surprised, and no layer dies unnoticed."""

from __future__ import annotations

import logging

import numpy as np
import paddle
import pytest
from nets import Net, convnet
from small_pruned_nets import TWO, adam, momentum, table, two

from paddle_unstructured import (
    Global,
    Polynomial,
    UnstructuredPruner,
)

pytestmark = pytest.mark.usefixtures("static")


def test_conv1x1_only_prunes_1x1_convolutions_only():
    net = Net(convnet, [2, 2, 4, 4], momentum)
    net.train(UnstructuredPruner(net.program, ratio=0.5, prune_params_type="conv1x1_only"))
    zeros = {name: int((value == 0).sum()) for name, value in net.everything().items() if name.endswith(".w_0")}
    assert zeros == {"conv2d_0.w_0": 0, "batch_norm2d_0.w_0": 0, "conv2d_1.w_0": 8, "linear_0.w_0": 0}


def test_norms_and_biases_are_never_touched():
    net = Net(convnet, [2, 2, 4, 4], momentum)
    before = net.everything()
    pruner = UnstructuredPruner(net.program, ratio=1.0)
    pruner.step()
    for name in pruner.skip_params:
        np.testing.assert_array_equal(net.get(name), before[name])
    assert pruner.skip_params == {
        name
        for name in before
        if name not in pruner.masks
        and not name.endswith("_mask")
        and "velocity" not in name
        and "learning_rate" not in name
    }


def test_skip_params_func_is_given_the_program_and_names_what_stays_dense():
    net, given = two(), []
    pruner = UnstructuredPruner(net.program, ratio=0.5, skip_params_func=lambda p: given.append(p) or {TWO[0]})
    net.train(pruner)
    assert given == [net.program]
    assert (net.zeros(TWO[0]), net.zeros(TWO[1])) == (0, 6)
    assert TWO[0] in pruner.skip_params


def test_skip_params_func_may_return_variables():
    net = two()
    pruner = UnstructuredPruner(
        net.program,
        skip_params_func=lambda program: [
            value for value in program.global_block().all_parameters() if value.name == TWO[1]
        ],
    )
    assert list(pruner.masks) == [TWO[0]]


def test_a_skipped_name_that_is_not_there_is_logged(caplog):
    UnstructuredPruner(two().program, skip_params_func=lambda program: {"linear_7.w_0"})
    assert "linear_7.w_0" in caplog.text


def test_a_users_selection_prunes_what_it_selects():
    net = two()
    net.train(UnstructuredPruner(net.program, ratio=0.5, select=lambda param: param.name == TWO[1]))
    assert (net.zeros(TWO[0]), net.zeros(TWO[1])) == (0, 6)


def test_a_floor_keeps_a_weak_layer_alive_by_default():
    net = two(None)
    net.put(TWO[1], net.get(TWO[1]) * 1e-3)
    UnstructuredPruner(net.program, ratio=0.5).step()
    assert (net.zeros(TWO[0]), net.zeros(TWO[1])) == (8, 10)  # ceil(0.3 * 0.5 * 12) = 2 stay


def test_the_layers_that_the_floor_holds_are_logged(caplog):
    net = two(None)
    net.put(TWO[1], net.get(TWO[1]) * 1e-3)
    with caplog.at_level(logging.INFO):
        UnstructuredPruner(net.program, ratio=0.5).step()
    assert f"from losing more: {TWO[1]}" in caplog.text
    assert TWO[0] not in caplog.text


def test_an_emptied_layer_is_warned_of_once(caplog):
    net = two(None)
    net.put(TWO[1], net.get(TWO[1]) * 1e-3)
    pruner = UnstructuredPruner(net.program, schedule=table(0.5, 0.6), allocation=Global(floor=0))
    pruner.step()
    assert net.zeros(TWO[1]) == 12
    pruner.step()
    warnings_ = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings_ == [f"no weight is left in {TWO[1]}; what is behind it gets no signal"]


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_an_error_that_names_the_param_and_changes_nothing(value):
    net = two()
    pruner = UnstructuredPruner(net.program, schedule=table(0.25, 0.5))
    net.train(pruner)
    weight = net.get(TWO[1])
    weight[5, 1] = value
    net.put(TWO[1], weight)
    before = net.everything()
    with pytest.raises(ValueError, match="NaN or infinity in the weights, .* of linear_1.w_0 at step 1"):
        pruner.step()
    assert (pruner.steps, pruner.sparsity()) == (1, 9 / 36)
    for name, array in net.everything().items():
        np.testing.assert_array_equal(array, before[name])


def test_nan_scores_of_a_users_criterion_are_an_error_too():
    net = two()
    pruner = UnstructuredPruner(net.program, ratio=0.5, criterion=lambda weight: paddle.sqrt(weight))
    with pytest.raises(ValueError, match="NaN .*linear_0.w_0, linear_1.w_0"):
        pruner.step()
    assert net.zeros(*TWO) == 0


def test_two_pruners_may_share_a_program_if_they_prune_different_params():
    net = two(adam)
    one = UnstructuredPruner(net.program, ratio=0.5, select=lambda param: param.name == TWO[0])
    other = UnstructuredPruner(net.program, ratio=0.75, select=lambda param: param.name == TWO[1])
    for _ in range(3):
        net.run()
        one.step()
        other.step()
        assert (net.zeros(TWO[0]), net.zeros(TWO[1])) == (12, 9)


def test_a_second_program_over_the_same_weights_does_not_undo_the_masks_of_the_first():
    net = two(adam)
    copy = net.program.clone(paddle.pir.IrMapping())
    first = UnstructuredPruner(net.program, ratio=0.5)
    net.train(first)
    try:
        UnstructuredPruner(copy, ratio=0.25)
    except ValueError:
        pass  # a refusal is as good
    assert net.zeros(*first.masks.values()) == 18


def test_masks_of_some_layers_hold_in_a_second_program_that_prunes_more_of_them(caplog):
    """Training for int8 behind pruning in blocks: what did not fit the blocks has no mask yet."""
    net = two(adam)
    copy = net.program.clone(paddle.pir.IrMapping())
    first = UnstructuredPruner(net.program, ratio=0.5, select=lambda param: param.name == TWO[0])
    net.train(first)
    with caplog.at_level(logging.WARNING):
        second = UnstructuredPruner(copy, ratio=0.0)
    assert "begin anew" not in caplog.text
    assert {name: net.zeros(mask) for name, mask in second.masks.items()} == {TWO[0]: 12, TWO[1]: 0}


def test_a_net_built_anew_in_the_same_scope_is_pruned_from_the_start():
    """A notebook's cell that is run twice."""
    net = two(adam)
    net.train(UnstructuredPruner(net.program, ratio=0.5))
    anew = two(adam)
    pruner = UnstructuredPruner(anew.program, ratio=0.25)
    anew.run()
    assert anew.zeros(*TWO) == 0
    anew.train(pruner, 3)
    assert anew.zeros(*TWO) == 9


def test_the_target_is_reached_when_the_last_sparsity_is_applied():
    net = two()
    pruner = UnstructuredPruner(net.program, schedule=Polynomial(final=0.5, begin_step=1, end_step=3))
    reached = []
    for _ in range(5):
        net.train(pruner)
        reached.append(pruner.target_reached())
    assert reached == [False, False, False, True, True]
