# SPDX-License-Identifier: Apache-2.0
"""Masks live in the graph: the stored weights are exactly sparse after every run."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from nets import Net, masks_in
from paddle import optimizer
from small_pruned_nets import TWO, adam, momentum, sgd, table, two

from paddle_unstructured import (
    UnstructuredPruner,
)

pytestmark = pytest.mark.usefixtures("static")


OPTIMIZERS = {
    "SGD": sgd,
    "Momentum": momentum,
    "Momentum, weight decay": lambda: optimizer.Momentum(0.1, 0.9, weight_decay=0.01),
    "Momentum, Nesterov": lambda: optimizer.Momentum(0.1, 0.9, use_nesterov=True),
    "Momentum, clipped": lambda: optimizer.Momentum(0.1, 0.9, grad_clip=paddle.nn.ClipGradByGlobalNorm(0.5)),
    "Adam": adam,
    "AdamW": lambda: optimizer.AdamW(0.05, weight_decay=0.1),
    "RMSProp": lambda: optimizer.RMSProp(0.05),
    "Adagrad": lambda: optimizer.Adagrad(0.1),
    "Adamax": lambda: optimizer.Adamax(0.05),
    "Adadelta": lambda: optimizer.Adadelta(0.5),
    "Lamb": lambda: optimizer.Lamb(0.05),
    "LARS": lambda: paddle.incubate.optimizer.LarsMomentumOptimizer(0.5, 0.9),  # takes lists of params
}
# Every value of each of the three meets both values of the others.
SETTINGS = [
    ("before", "own", "float32"),
    ("before", "global", "float64"),
    ("after", "global", "float32"),
    ("after", "own", "float64"),
]


@pytest.mark.parametrize("made, where, dtype", SETTINGS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_stored_weights_are_exactly_sparse_after_every_run_and_still_train(name, made, where, dtype):
    net = two(None if made == "before" else OPTIMIZERS[name], own_scope=where == "own", dtype=dtype)
    pruner = UnstructuredPruner(
        net.program, schedule=table(0.0, 0.5, 0.5, 0.75, 0.75), scope=net.scope if where == "own" else None
    )
    if made == "before":
        net.minimize(OPTIMIZERS[name])
    zeros = []
    for step in range(6):
        before = [net.get(weight) for weight in TWO]
        net.run()
        zeros.append(net.zeros(*TWO))
        for weight, old in zip(TWO, before):
            moved = net.get(weight) != old
            assert moved[old != 0].all() or not moved.all() and moved.any()
        pruner.step()
        assert net.zeros(*TWO) == round(36 * [0.0, 0.5, 0.5, 0.75, 0.75, 0.75][step])
    assert zeros == [0, 0, 18, 18, 27, 27]


def test_nothing_has_to_be_called_between_runs():
    net = two(adam)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner)
    for _ in range(5):
        net.run()
        assert net.zeros(*TWO) == 18


def test_the_zeros_are_where_the_masks_are():
    net = two(adam)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner, 2)
    net.run()
    for weight in TWO:
        np.testing.assert_array_equal(net.get(weight) == 0, net.get(pruner.masks[weight]) == 0)


def test_a_mask_is_a_persistable_variable_of_the_weights_dtype_and_shape():
    net = two(dtype="float64")
    pruner = UnstructuredPruner(net.program)
    assert pruner.masks == {weight: weight + "_mask" for weight in TWO}
    assert sorted(masks_in(net.program)) == sorted(pruner.masks.values())
    for weight, mask in pruner.masks.items():
        assert (net.get(mask).dtype, net.get(mask).shape) == (net.get(weight).dtype, net.get(weight).shape)


def test_the_moving_average_of_a_weight_is_tied_with_one_call():
    net = two()
    startup = paddle.static.Program()
    with paddle.static.program_guard(net.program, startup):
        weight = next(v for v in net.program.global_block().all_parameters() if v.name == TWO[0])
        average = paddle.pir.core.create_persistable_value(
            dtype="float32", shape=[4, 6], name="average", initializer=paddle.nn.initializer.Constant(0.5)
        )
        paddle.base.libpaddle.pir.reset_insertion_point_to_end()
        paddle.assign(average * 0.9 + weight * 0.1, output=average)
    net.exe.run(startup)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    pruner.tie(average, TWO[0])
    net.train(pruner)
    for _ in range(3):
        np.testing.assert_array_equal(net.get("average") == 0, net.get(TWO[0]) == 0)
        assert net.zeros("average") > 0
        net.run()


def test_a_shadow_of_another_precision_written_after_the_pruner_was_made_is_tied_too():
    net = two()
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner)
    startup = paddle.static.Program()
    with paddle.static.program_guard(net.program, startup):
        shadow = paddle.pir.core.create_persistable_value(
            dtype="float64", shape=[4, 6], name="master", initializer=paddle.nn.initializer.Constant(1.0)
        )
        paddle.base.libpaddle.pir.reset_insertion_point_to_end()
        paddle.assign(shadow + 1.0, output=shadow)
    net.exe.run(startup)
    pruner.tie("master", TWO[0])
    net.run()
    np.testing.assert_array_equal(net.get("master") == 0, net.get(TWO[0]) == 0)


def test_update_params_masks_loaded_weights_and_is_idempotent():
    net = two()
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner)
    for weight in TWO:
        net.put(weight, np.ones(net.get(weight).shape))
    pruner.update_params()
    once = net.everything()
    assert net.zeros(*TWO) == 18
    pruner.update_params()
    for name, value in net.everything().items():
        np.testing.assert_array_equal(value, once[name])


def test_update_params_masks_what_is_tied_too():
    net = two()
    startup = paddle.static.Program()
    with paddle.static.program_guard(net.program, startup):
        paddle.pir.core.create_persistable_value(
            dtype="float32", shape=[4, 6], name="average", initializer=paddle.nn.initializer.Constant(0.5)
        )
    net.exe.run(startup)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    pruner.tie("average", TWO[0])
    net.train(pruner)
    net.put("average", np.ones([4, 6]))
    pruner.update_params()
    np.testing.assert_array_equal(net.get("average") == 0, net.get(TWO[0]) == 0)


@pytest.mark.parametrize("held, is_reached", [([2], True), ([2, 0], False), ([0], False), ([4], True)])
def test_a_short_block_in_the_place_of_a_whole_one_leaves_the_target_reached(held, is_reached):
    """Inputs 0 to 3 and 4, 5 of each output are a block; 4 of 12 weights are pruned, and then masks are loaded."""
    net = Net(lambda x: paddle.nn.Conv2D(6, 2, 1, bias_attr=False)(x), [2, 6, 3, 3])
    pruner = UnstructuredPruner(net.program, ratio=1 / 3, pattern="1x4")
    pruner.step()
    [(name, mask)] = pruner.masks.items()
    for zeros in held:
        loaded = np.ones([2, 6, 1, 1])
        loaded[0, 6 - zeros :] = 0
        net.put(mask, loaded)
        pruner.update_params()
        assert pruner.pruned_by_layer() == {name: zeros}
    assert pruner.target_reached() == is_reached
