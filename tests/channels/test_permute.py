# SPDX-License-Identifier: Apache-2.0
"""Output channels in another order: blocks keep more, and the Program computes what it did."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import pytest
from chance_nets import chance
from channel_nets import (
    added_to_a_concatenation,
    as_filters,
    averaged,
    averaged_channels,
    channels_last,
    channels_last_averaged,
    concatenated,
    conv_bn_conv,
    depthwise,
    depthwise_transposed,
    flattened,
    gated,
    group_normed,
    grouped,
    in_equal_parts,
    in_parts,
    inside_a_branch,
    layer_normed,
    linear_over_the_width,
    one_dimensional,
    outputs,
    padded_channels,
    pooled,
    randomised,
    residual,
    shared,
    shared_between,
    shuffled,
    three_dimensional,
    transposed_conv,
    twice_concatenated,
    two_readers,
    with_a_table,
)
from nets import Net
from paddle import nn

from paddle_unstructured import Block, Uniform, UnstructuredPruner
from paddle_unstructured.channels.permute import Permuted, permute_channels

pytestmark = pytest.mark.usefixtures("static")


KEEPING = {  # net -> how many layers, from the first, get another order
    added_to_a_concatenation: 3,
    averaged: 1,
    channels_last: 1,
    channels_last_averaged: 1,
    concatenated: 1,
    conv_bn_conv: 1,
    depthwise: 1,
    depthwise_transposed: 1,
    flattened: 1,
    gated: 2,
    inside_a_branch: 1,
    one_dimensional: 1,
    pooled: 2,
    residual: 2,
    shared_between: 2,
    three_dimensional: 1,
    transposed_conv: 1,
    twice_concatenated: 1,
    two_readers: 1,
    with_a_table: 1,
}
LOSS = "its outputs reach pd_op.elementwise_pow"
REFUSED = {
    grouped: ["a grouped convolution reads its outputs", "it is a grouped convolution"],
    group_normed: ["its outputs reach pd_op.group_norm"],
    layer_normed: ["its outputs reach pd_op.layer_norm"],
    padded_channels: ["its outputs reach pd_op.pad"],
    averaged_channels: ["its outputs reach pd_op.mean"],
    linear_over_the_width: ["its outputs reach pd_op.matmul"],
    as_filters: ["its outputs reach pd_op.slice", "its outputs reach pd_op.conv2d"],
    shared: [LOSS, LOSS],  # what the last layer gives is what the first one gives
    shuffled: ["pd_op.reshape splits its outputs, or has a shape that is not known"],
    in_parts: ["split has only a part of its outputs"],
    in_equal_parts: ["some of its outputs are tied to others"],
}


@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("layers", KEEPING, ids=lambda layers: layers.__name__)
def test_outputs_stay_what_they_were(layers, m):
    net = randomised(layers)
    before, weights = outputs(net), net.everything()
    rows = permute_channels(net.program, m)
    follow = KEEPING[layers]
    assert [row.permuted for row in rows] == [True] * follow + [False] * (len(rows) - follow)
    assert all((net.get(row.param) != weights[row.param]).any() for row in rows if row.permuted)
    # Sums over channels are rounded in another order.
    np.testing.assert_allclose(outputs(net), before, rtol=1e-5, atol=1e-5 * np.abs(before).max())


@pytest.mark.parametrize("seed", [*range(7), *(pytest.param(s, marks=pytest.mark.slow) for s in range(8, 60))])
def test_nets_by_chance_compute_what_they_did(seed):
    net = randomised(chance(seed))
    before = outputs(net)
    assert any(row.permuted for row in permute_channels(net.program, 2, sparsity=0.5))
    np.testing.assert_allclose(outputs(net), before, rtol=1e-4, atol=1e-4 * np.abs(before).max())


@pytest.mark.parametrize("layers", REFUSED, ids=lambda layers: layers.__name__)
def test_a_layer_whose_channels_reach_anything_else_is_left_alone_bit_for_bit(layers):
    net = randomised(layers)
    weights, rows = net.everything(), permute_channels(net.program, 2)
    assert [row.reason for row in rows][: len(REFUSED[layers])] == REFUSED[layers]
    assert not any(row.permuted for row in rows)
    assert all((net.get(name) == value).all() for name, value in weights.items())


def test_the_last_layer_is_left_alone():
    net = randomised(conv_bn_conv)
    assert permute_channels(net.program, 2)[-1].reason == "its outputs reach pd_op.elementwise_pow"  # the loss
    program = paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, paddle.static.Program()):
        conv_bn_conv(paddle.static.data("x", net.shape))
    assert permute_channels(program, 2)[-1].reason == "its outputs leave the Program"


@pytest.mark.parametrize("layers", [depthwise, residual], ids=lambda layers: layers.__name__)
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: paddle.optimizer.Adam(0.01, weight_decay=0.1, grad_clip=nn.ClipGradByGlobalNorm(1.0)),
        lambda: paddle.optimizer.Momentum(0.01, weight_decay=0.1),
        lambda: paddle.optimizer.SGD(0.01, weight_decay=paddle.regularizer.L1Decay(0.1)),
    ],
    ids=["adam", "momentum", "sgd"],
)
def test_training_goes_on_as_it_would_have(optimizer, layers):
    losses = []
    for permute in (False, True):
        net = Net(layers, [2, 3, 8, 8], optimizer, own_scope=True)
        for step in range(6):
            if permute and step == 3:
                assert permute_channels(net.program, 2, scope=net.scope)[0].permuted
            net.run()
        losses.append([float(net.run()[0]) for _ in range(3)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)  # rounding, through six steps


def test_layers_that_are_added_keep_more_together_and_none_less():
    net = randomised(residual)
    before = net.everything()
    rows = [row for row in permute_channels(net.program, 2) if row.permuted]
    assert len(rows) == 2 and all(row.kept_after > row.kept_before for row in rows)
    biases = [row.param.replace("w_0", "b_0") for row in rows]
    orders = [[int(np.flatnonzero(before[name] == b)[0]) for b in net.get(name)] for name in biases]
    assert orders[0] == orders[1] != sorted(orders[0])


def test_a_weight_that_a_penalty_reads_is_left_alone():
    def penalised(x: Any) -> Any:
        conv = nn.Conv2D(3, 8, 1)
        return nn.Conv2D(8, 4, 1)(conv(x)) + paddle.abs(conv.weight).sum()

    row = permute_channels(randomised(penalised).program, 2)[0]
    assert row.reason == "conv2d_0.w_0, which sees its outputs, is also read by pd_op.abs"


def test_correlated_neighbours_are_found_and_keep_strictly_more():
    net = randomised(averaged)
    weight = net.get("conv2d_0.w_0") * 0.01
    for channel, image in enumerate((0, 1, 2, 1, 0, 2, 1, 0)):
        weight[channel, image] = 1 + channel
    net.put("conv2d_0.w_0", weight)
    first = permute_channels(net.program, 2, sparsity=0.5)[0]
    assert first.permuted and first.kept_before < first.kept_after and first.kept_after > 0.99
    again = permute_channels(net.program, 2, sparsity=0.5)[0]
    assert again == Permuted(first.param, False, "no order was found that keeps more", *[first.kept_after] * 2)


@pytest.mark.parametrize("layers", KEEPING, ids=lambda layers: layers.__name__)
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9])
def test_nothing_is_ever_lost(layers, sparsity):
    for row in permute_channels(randomised(layers).program, 2, sparsity=sparsity):
        assert row.kept_after >= row.kept_before and row.permuted == (row.kept_after > row.kept_before)


@pytest.mark.parametrize("m", [2, 4])
def test_a_pruner_keeps_exactly_what_the_row_says(m):
    for permute in (False, True):
        net = randomised(averaged)
        row = permute_channels(net.program, m, sparsity=0.5)[0]
        if not permute:
            net = randomised(averaged)  # the same weights, in the order they had
        dense = (net.get(row.param) ** 2).sum()
        UnstructuredPruner(
            net.program,
            ratio=0.5,
            pattern=Block(m, 1),
            allocation=Uniform(),
            select=lambda param: param.name == row.param,
        ).step()
        weight = net.get(row.param)
        alive = (weight != 0).reshape(8 // m, m, -1)
        assert net.zeros(row.param) == 0.5 * weight.size and (alive.all(1) == alive.any(1)).all()
        assert (weight**2).sum() / dense == pytest.approx(row.kept_after if permute else row.kept_before, rel=1e-6)


def test_only_selected_layers_get_a_row_and_are_permuted():
    net = randomised(pooled)
    weight = net.get("conv2d_0.w_0")
    rows = permute_channels(net.program, 2, select=lambda param: param.role == "linear")
    assert [row.param for row in rows] == ["linear_1.w_0", "linear_0.w_0"] and rows[0].permuted
    assert (net.get("conv2d_0.w_0") == weight).all()


def test_rows_print_as_an_aligned_table():
    lines = str(permute_channels(randomised(averaged).program, 2)).splitlines()
    assert lines[0].split() == ["param", "kept", "before", "kept", "after", "permuted", "why"]
    assert len(lines) == 4 and len({line.index(word) for line, word in zip(lines[2:], ("yes", "no"))}) == 1


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"m": 3}, "`m` must be 2, 4, 8, 16 or 32, got 3"),
        ({"m": 2, "sparsity": 1.0}, r"`sparsity` must be in \[0, 1\), got 1.0"),
    ],
)
def test_wrong_arguments_are_refused_at_the_door(wrong, message):
    with pytest.raises(ValueError, match=message):
        permute_channels(randomised(averaged).program, **wrong)


def test_a_program_with_masks_is_refused():
    net = randomised(averaged)
    UnstructuredPruner(net.program, ratio=0.5)
    with pytest.raises(ValueError, match="before the pruner is made"):
        permute_channels(net.program, 2)


def test_weights_without_values_are_refused():
    with pytest.raises(ValueError, match="no value in the scope"):
        permute_channels(randomised(averaged).program, 2, scope=paddle.static.Scope())


@pytest.mark.parametrize("optimizer", [paddle.optimizer.Momentum, paddle.incubate.optimizer.LarsMomentumOptimizer])
def test_nothing_is_changed_when_an_accumulator_has_no_value(optimizer):
    net = randomised(averaged, lambda: optimizer(0.1, momentum=0.9))
    weights = {name: value for name, value in net.everything().items() if name.endswith(("w_0", "b_0"))}
    net.scope.erase([name for name in net.everything() if "linear_0.w_0_velocity" in name])
    with pytest.raises(ValueError, match="linear_0.w_0_velocity_0 must have a value"):
        permute_channels(net.program, 2)
    assert all((net.get(name) == value).all() for name, value in weights.items())
