# SPDX-License-Identifier: Apache-2.0
"""Before or after `minimize`, the algorithm is the same."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from nets import Net, convnet
from small_pruned_nets import TWO, adam, momentum, sgd, table, two

from paddle_unstructured import (
    UnstructuredPruner,
)

pytestmark = pytest.mark.usefixtures("static")


@pytest.mark.parametrize("make_optimizer", [momentum, adam])
def test_before_and_after_minimize_train_to_the_same_bits(make_optimizer):
    results = []
    for made in ("before", "after"):
        with paddle.static.scope_guard(paddle.static.Scope()):
            net = two(None if made == "before" else make_optimizer)
            pruner = UnstructuredPruner(net.program, schedule=table(0.0, 0.5, 0.75))
            if made == "before":
                net.minimize(make_optimizer)
            net.train(pruner, 5)
            results.append([net.get(weight) for weight in TWO])
    for one, other in zip(*results):
        np.testing.assert_array_equal(one, other)


def test_a_pruner_made_under_no_grad_leaves_every_parameter_trainable():
    net = two()
    with paddle.no_grad():
        UnstructuredPruner(net.program)
    assert not any(value.stop_gradient for value in net.program.global_block().all_parameters())


@pytest.mark.parametrize("make_optimizer", [None, momentum])
def test_a_pruner_leaves_every_parameter_trainable(make_optimizer):
    """An in-place product marks its target as one that needs no gradient, and `minimize` would then skip it."""
    net = two(make_optimizer)
    net.train(UnstructuredPruner(net.program))
    assert not any(value.stop_gradient for value in net.program.global_block().all_parameters())


def test_a_program_without_an_optimizer_gets_no_products():
    net = two(None)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    pruner.step()
    assert not any(op.name() == "pd_op.multiply_" for op in net.program.global_block().ops)
    assert net.zeros(*TWO) == 18


def test_products_are_appended_once():
    net = two()
    pruner = UnstructuredPruner(net.program)
    count = net.program.num_ops()
    net.train(pruner, 3)
    pruner.update_params()
    assert net.program.num_ops() == count


def test_an_update_appended_after_steps_is_masked_from_the_next_step_on():
    net = two()
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner, 2)
    weight = next(v for v in net.program.global_block().all_parameters() if v.name == TWO[0])
    with paddle.static.program_guard(net.program):
        paddle.base.libpaddle.pir.reset_insertion_point_to_end()
        paddle.assign(weight + 0.01, output=weight)
    pruner.step()
    for _ in range(3):
        net.run()
        assert net.zeros(*TWO) == 18


def test_a_second_minimize_is_masked_too():
    net = two(sgd)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner)
    net.minimize(momentum)
    assert sum(op.name() == "pd_op.momentum_" for op in net.program.global_block().ops) == 4
    pruner.step()
    for _ in range(3):
        net.run()
        assert net.zeros(*TWO) == 18


def test_an_inference_program_from_a_file_is_pruned_in_one_shot(tmp_path):
    dense = Net(convnet, [2, 2, 4, 4])
    paddle.static.save_inference_model(
        str(tmp_path / "model"), [dense.input], [dense.output], dense.exe, program=dense.program
    )
    scope = paddle.static.Scope()
    with paddle.static.scope_guard(scope):
        program, feeds, fetches = paddle.static.load_inference_model(str(tmp_path / "model"), dense.exe)
        pruner = UnstructuredPruner(program, ratio=0.5)
        pruner.step()
        assert UnstructuredPruner.total_sparse(program) == round(0.5 * 136) / 136  # 72 + 16 + 48 weights
        weights = {param.name: np.array(scope.find_var(param.name).get_tensor()) for param in pruner.params}
        data = np.random.default_rng(0).normal(size=[2, 2, 4, 4]).astype("float32")
        (output,) = dense.exe.run(program, feed={feeds[0]: data}, fetch_list=fetches)
    assert np.isfinite(output).all()
    assert sum(int((weight == 0).sum()) for weight in weights.values()) == 68
