# SPDX-License-Identifier: Apache-2.0
"""Threshold mode, parts and words, PaddleSlim's further methods, and Paddle's own files."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from nets import Net, convnet, linear, masks_in
from small_pruned_nets import TWO, momentum, two

from paddle_unstructured import (
    Block,
    Constant,
    Element,
    Global,
    Threshold,
    Uniform,
    UnstructuredPruner,
    sparsity_report,
)

pytestmark = pytest.mark.usefixtures("static")


def test_threshold_mode_prunes_what_is_below_the_threshold_and_nothing_else():
    net = two(None)
    before = {weight: net.get(weight) for weight in TWO}
    pruner = UnstructuredPruner(net.program, mode="threshold", threshold=0.2)
    pruner.step()
    for weight in TWO:
        np.testing.assert_array_equal(net.get(weight), np.where(np.abs(before[weight]) < 0.2, 0, before[weight]))
    assert pruner.threshold == 0.2 and pruner.update_threshold() == 0.2


def test_threshold_mode_prunes_what_falls_below_later():
    net = Net(linear(2, 2), [3, 2])
    pruner = UnstructuredPruner(net.program, mode="threshold", threshold=0.5)
    net.put("linear_0.w_0", [[1.0, 0.1], [2.0, -0.7]])
    pruner.step()
    assert net.get("linear_0.w_0_mask").tolist() == [[1, 0], [1, 1]]
    net.put("linear_0.w_0", [[-0.4, 9.0], [2.0, -0.7]])
    pruner.step()
    assert net.get("linear_0.w_0_mask").tolist() == [[0, 0], [1, 1]]
    assert net.zeros("linear_0.w_0") == 2


def test_local_sparsity_prunes_the_rounded_share_of_every_layer():
    net = two()
    net.train(UnstructuredPruner(net.program, ratio=0.4, local_sparsity=True))
    assert (net.zeros(TWO[0]), net.zeros(TWO[1])) == (round(0.4 * 24), round(0.4 * 12))


def test_sparse_block_prunes_neighbours_along_the_first_stored_axis():
    net = Net(convnet, [2, 2, 4, 4], momentum)
    net.train(UnstructuredPruner(net.program, ratio=0.5, sparse_block=[2, 1]), 3)
    for name in ("conv2d_0.w_0", "conv2d_1.w_0", "linear_0.w_0"):
        weight = net.get(name)
        gone = (weight == 0).reshape(weight.shape[0], weight.shape[1], -1).all(axis=2)
        assert gone.any() or name != "linear_0.w_0"
        np.testing.assert_array_equal(gone[0::2], gone[1::2])


def test_sparse_block_meets_the_ratio_to_within_one_block():
    net = two()
    net.train(UnstructuredPruner(net.program, ratio=0.5, sparse_block=[2, 2], allocation=Global(floor=0)))
    assert 18 - 4 < net.zeros(*TWO) <= 18


def test_a_block_of_opposite_weights_outlives_a_block_of_small_ones():
    net = Net(linear(4, 1), [3, 4])
    net.put("linear_0.w_0", [[5.0], [-5.0], [0.1], [0.1]])
    UnstructuredPruner(net.program, ratio=0.5, sparse_block=[2, 1]).step()
    assert net.get("linear_0.w_0").flatten().tolist() == [5.0, -5.0, 0.0, 0.0]


def test_a_block_of_one_is_unstructured():
    net = two()
    assert "pattern=Element()" in repr(UnstructuredPruner(net.program, sparse_block=[1, 1]))


@pytest.mark.parametrize(
    "words, parts",
    [
        ({"mode": "ratio", "ratio": 0.6}, {"schedule": Constant(0.6)}),
        ({"ratio": 0.6, "local_sparsity": True}, {"schedule": Constant(0.6), "allocation": Uniform()}),
        ({"mode": "threshold", "threshold": 0.3}, {"allocation": Threshold(0.3)}),
        ({"ratio": 0.6, "sparse_block": [2, 1]}, {"schedule": Constant(0.6), "pattern": Block(2, 1, axes="stored")}),
        ({}, {"schedule": Constant(0.55), "allocation": Global(0.3), "pattern": Element()}),
    ],
)
def test_words_and_the_parts_they_stand_for_prune_alike(words, parts):
    results = []
    for arguments in (words, parts):
        with paddle.static.scope_guard(paddle.static.Scope()):
            net = two()
            net.train(UnstructuredPruner(net.program, **arguments), 3)
            results.append([net.get(weight) for weight in TWO])
    for one, other in zip(*results):
        np.testing.assert_array_equal(one, other)


def test_a_users_criterion_decides_who_falls():
    net = Net(linear(2, 2), [3, 2])
    net.put("linear_0.w_0", [[1.0, 2.0], [3.0, 4.0]])
    UnstructuredPruner(net.program, ratio=0.5, criterion=lambda weight: -paddle.abs(weight)).step()
    assert net.get("linear_0.w_0").tolist() == [[1.0, 2.0], [0.0, 0.0]]


def test_the_pruner_says_what_it_is_made_of():
    text = repr(UnstructuredPruner(two().program, ratio=0.5))
    assert text == (
        f"UnstructuredPruner(criterion=magnitude, pattern=Element(), allocation={Global()!r}, "
        "schedule=Constant(sparsity=0.5, begin_step=0), params=2, weights=36)"
    )


def test_the_scope_and_place_are_those_given():
    net = two(own_scope=True)
    place = paddle.CPUPlace()
    pruner = UnstructuredPruner(net.program, scope=net.scope, place=place)
    assert pruner.scope is net.scope and pruner.place is place
    assert UnstructuredPruner(two().program).scope is paddle.static.global_scope()


def test_an_own_scope_leaves_the_global_one_empty():
    net = two(own_scope=True)
    net.train(UnstructuredPruner(net.program, scope=net.scope))
    assert all(paddle.static.global_scope().find_var(name) is None for name in net.everything())


def test_no_grad_set_goes_into_minimize():
    net = two(None)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    startup = paddle.static.Program()
    with paddle.static.program_guard(net.program, startup):
        momentum().minimize(net.loss, no_grad_set=pruner.no_grad_set)
    net.exe.run(startup)
    before = net.get(TWO[0])
    net.train(pruner)
    assert (net.get(TWO[0]) != before).any()


def test_update_threshold_finds_the_cut_of_the_present_weights_and_prunes_nothing():
    net = two()
    pruner = UnstructuredPruner(net.program, ratio=0.5, allocation=Global(floor=0))
    magnitudes = np.sort(np.concatenate([np.abs(net.get(weight)).flatten() for weight in TWO]))
    assert pruner.update_threshold() == pruner.threshold == magnitudes[17]
    assert net.zeros(*TWO) == 0
    pruner.step()
    assert net.zeros(*TWO) == 18 and pruner.threshold == magnitudes[17]


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
def test_summarize_weights_is_a_threshold_with_that_ratio_below_it(ratio):
    net = two(own_scope=True)
    pruner = UnstructuredPruner(net.program, scope=net.scope)
    threshold = pruner.summarize_weights(net.program, ratio)
    below = sum(int((np.abs(net.get(weight)) < threshold).sum()) for weight in TWO)
    assert below == round(ratio * 36)


def test_sparse_by_layer_gives_the_sparsity_of_every_weight():
    net = two(own_scope=True)
    pruner = UnstructuredPruner(net.program, ratio=0.5, local_sparsity=True, scope=net.scope)
    net.train(pruner)
    assert pruner.sparse_by_layer(net.program) == pruner.sparse_by_layer() == {TWO[0]: 0.5, TWO[1]: 0.5}


@pytest.mark.parametrize("own_scope", [False, True])
def test_total_sparse_counts_weights_and_total_sparse_conv1x1_those_of_1x1_convolutions(own_scope):
    net = Net(convnet, [2, 2, 4, 4], momentum, own_scope=own_scope)
    scope = net.scope if own_scope else None
    net.train(UnstructuredPruner(net.program, ratio=0.5, prune_params_type="conv1x1_only", scope=scope))
    assert UnstructuredPruner.total_sparse_conv1x1(net.program, scope) == 0.5
    assert UnstructuredPruner.total_sparse(net.program, scope) == 8 / 136


def test_total_sparse_conv1x1_of_a_net_without_any_is_zero():
    assert UnstructuredPruner.total_sparse_conv1x1(two().program) == 0.0


def test_masks_travel_with_paddles_save_and_load(tmp_path):
    net = two()
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner, 3)
    paddle.static.save(net.program, str(tmp_path / "net"))
    saved = net.everything()
    with paddle.static.scope_guard(paddle.static.Scope()):
        again = two(seed=2)
        resumed = UnstructuredPruner(again.program, ratio=0.5)
        paddle.static.load(again.program, str(tmp_path / "net"), again.exe)
        for name, value in again.everything().items():
            np.testing.assert_array_equal(value, saved[name])
        for _ in range(3):
            again.run()
            assert again.zeros(*TWO) == 18
            resumed.step()
        assert all((again.get(mask) == saved[mask]).all() for mask in resumed.masks.values())


def test_an_exported_inference_model_has_the_zeros_and_not_the_masks(tmp_path):
    net = two()
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner, 2)
    paddle.static.save_inference_model(str(tmp_path / "model"), [net.input], [net.output], net.exe, program=net.program)
    with paddle.static.scope_guard(paddle.static.Scope()):
        program, *_ = paddle.static.load_inference_model(str(tmp_path / "model"), net.exe)
        names = {value.name for value in program.global_block().all_parameters()}
        assert not [name for name in names if name.endswith("_mask")] and not masks_in(program)
        assert not any(op.name().startswith("pd_op.multiply") for op in program.global_block().ops)
        assert sparsity_report(program).counts["selected"] == (18, 36)
