"""Output channels in another order: blocks keep more, and the Program computes what it did."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from nets import Net
from paddle import nn

from paddle_unstructured import Block, Uniform, UnstructuredPruner
from paddle_unstructured.channels.permute import Permuted, kept, permute_channels, similar_together

pytestmark = pytest.mark.usefixtures("static")


def conv_bn_conv(x: Any) -> Any:
    return nn.Conv2D(8, 4, 3)(F.relu(nn.BatchNorm2D(8)(nn.Conv2D(3, 8, 3)(x))))


def depthwise(x: Any) -> Any:
    x = F.relu6(nn.BatchNorm2D(8)(nn.Conv2D(3, 8, 3, bias_attr=False)(x)))
    x = F.hardswish(nn.BatchNorm2D(16)(nn.Conv2D(8, 16, 3, groups=8)(x)))  # two outputs per channel
    return nn.Conv2D(16, 4, 1)(x)


def flattened(x: Any) -> Any:
    return nn.Linear(8 * 3 * 3, 4)(nn.MaxPool2D(2)(nn.Conv2D(3, 8, 3)(x)).flatten(1))


def pooled(x: Any) -> Any:
    x = nn.AdaptiveAvgPool2D(1)(F.gelu(nn.Conv2D(3, 8, 3)(x)))
    return nn.Linear(8, 2)(F.silu(nn.LayerNorm(8)(nn.Linear(8, 8)(x.squeeze([2, 3])))))


def averaged(x: Any) -> Any:
    return nn.Linear(8, 4)(nn.Conv2D(3, 8, 3)(x).mean([2, 3]))


def transposed_conv(x: Any) -> Any:
    x = nn.PReLU(8)(nn.InstanceNorm2D(8)(nn.Conv2D(3, 8, 3)(x)))
    return nn.Conv2DTranspose(8, 4, 2)(nn.Pad2D(1)(F.pad(x, [0, 0, 0, 0, 1, 0, 2, 1])) * 2.0)


def channels_last(x: Any) -> Any:
    x = nn.Conv2D(3, 8, 3, data_format="NHWC")(x.transpose([0, 2, 3, 1]))
    return nn.Linear(6 * 6 * 8, 4)(nn.BatchNorm2D(8, data_format="NHWC")(x).flatten(1))


def channels_last_averaged(x: Any) -> Any:
    return nn.Linear(8, 4)(nn.Conv2D(3, 8, 3, data_format="NHWC")(x.transpose([0, 2, 3, 1])).mean([1, 2]))


def one_dimensional(x: Any) -> Any:
    return nn.Conv1D(8, 4, 3)(F.relu(nn.BatchNorm1D(8)(nn.Conv1D(3, 8, 3)(x.flatten(2)))))


def with_a_table(x: Any) -> Any:
    rows = nn.Linear(3, 8)(x.mean([2, 3]))  # [2, 8]
    table = paddle.create_parameter([5, 1, 8], "float32", default_initializer=nn.initializer.Normal())
    return nn.Linear(8, 4)(1.0 - rows * table)


def two_readers(x: Any) -> Any:
    x = F.tanh(nn.Conv2D(3, 8, 3)(x))
    return nn.Conv2D(8, 4, 1)(x) + nn.Conv2D(8, 4, 1)(nn.Upsample(scale_factor=1)(x))


def residual(x: Any) -> Any:
    x = nn.Conv2D(3, 8, 1)(x)
    return nn.Conv2D(8, 4, 1)(x + nn.Conv2D(8, 8, 1)(F.relu(x)))


def concatenated(x: Any) -> Any:
    return nn.Conv2D(11, 4, 1)(paddle.concat([nn.Conv2D(3, 8, 1)(x), x], axis=1))


def grouped(x: Any) -> Any:
    return nn.Conv2D(8, 4, 1, groups=2)(nn.Conv2D(3, 8, 1)(x))


def group_normed(x: Any) -> Any:
    return nn.Conv2D(8, 4, 1)(nn.GroupNorm(2, 8)(nn.Conv2D(3, 8, 1)(x)))


def shuffled(x: Any) -> Any:
    x = nn.Conv2D(3, 8, 1)(x).reshape([2, 4, 2, 64]).transpose([0, 2, 1, 3]).reshape([2, 8, 8, 8])
    return nn.Conv2D(8, 4, 1)(x)


def layer_normed(x: Any) -> Any:
    return nn.Conv2D(8, 4, 1)(nn.LayerNorm(8)(nn.Conv2D(3, 8, 1)(x)))  # over eight columns, not the eight channels


def padded_channels(x: Any) -> Any:
    return nn.Conv2D(10, 4, 1)(F.pad(nn.Conv2D(3, 8, 1)(x), [0, 0, 1, 1, 0, 0, 0, 0]))


def averaged_channels(x: Any) -> Any:
    return nn.Conv2D(1, 4, 1)(nn.Conv2D(3, 8, 1)(x).mean(1, keepdim=True))


def linear_over_the_width(x: Any) -> Any:
    return nn.Linear(8, 4)(nn.Conv2D(3, 8, 1)(x))  # eight channels, eight columns


def as_filters(x: Any) -> Any:
    return F.conv2d(x[:, :, :4], nn.Conv2D(3, 3, 1)(nn.Conv2D(3, 8, 1)(x)[:, :3]))


def gated(x: Any) -> Any:
    x = nn.Conv2D(3, 8, 1)(x)
    return nn.Conv2D(8, 4, 1)(x * F.sigmoid(nn.Conv2D(3, 8, 1)(x[:, :3])))


def shared(x: Any) -> Any:
    conv = nn.Conv2D(8, 8, 1)
    return conv(F.relu(conv(F.relu(nn.Conv2D(3, 8, 1)(x)))))


def randomised(layers: Any, optimizer: Any = None) -> Net:
    """A net in which every stored number is random, so that none that stays behind goes unnoticed; even outputs are
    alike, and odd ones."""
    net = Net(layers, [2, 3, 8, 8], optimizer)
    rng = np.random.default_rng(3)
    for name, value in sorted(net.everything().items()):
        value = rng.uniform(0.1, 1.0, value.shape)
        if value.ndim > 2:
            value[0::2, 0] *= 5
            value[1::2, -1] *= 5
        elif value.ndim == 2:
            value[0, 0::2] *= 5
            value[-1, 1::2] *= 5
        net.put(name, value)
    return net


def outputs(net: Net) -> np.ndarray:
    """As inference gives them: norms use their stored statistics."""
    for op in net.program.global_block().ops:
        if "is_test" in op.attrs():
            op.set_bool_attr("is_test", True)
    net.steps = 0
    return net.run((net.output,))[1]


KEEPING = (
    conv_bn_conv,
    depthwise,
    flattened,
    pooled,
    averaged,
    transposed_conv,
    channels_last,
    channels_last_averaged,
    one_dimensional,
    with_a_table,
    two_readers,
)
ADDED = "its outputs are added to other activations"
GATED = "its outputs are joined by pd_op.multiply with other activations"
SHARED = "conv2d_0.w_0, which sees its outputs, is also read by pd_op.conv2d"
REFUSED = {
    residual: [ADDED, ADDED],
    concatenated: ["its outputs reach pd_op.concat"],
    grouped: ["a grouped convolution reads its outputs", "it is a grouped convolution"],
    group_normed: ["its outputs reach pd_op.group_norm"],
    layer_normed: ["its outputs reach pd_op.layer_norm"],
    padded_channels: ["its outputs reach pd_op.pad"],
    averaged_channels: ["its outputs reach pd_op.mean"],
    linear_over_the_width: ["its outputs reach pd_op.matmul"],
    as_filters: ["its outputs reach pd_op.slice", "its outputs reach pd_op.conv2d"],
    gated: [GATED, GATED],
    shared: [SHARED, SHARED],
    shuffled: ["pd_op.reshape splits its outputs, or has a shape that is not known"],
}


@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("layers", KEEPING, ids=lambda layers: layers.__name__)
def test_outputs_stay_what_they_were(layers, m):
    net = randomised(layers)
    before, weights = outputs(net), net.everything()
    rows = permute_channels(net.program, m)
    follow = 2 if layers is pooled else 1
    assert [row.permuted for row in rows] == [True] * follow + [False] * (len(rows) - follow)
    assert all((net.get(row.param) != weights[row.param]).any() for row in rows if row.permuted)
    # Sums over channels are rounded in another order.
    np.testing.assert_allclose(outputs(net), before, rtol=1e-5, atol=1e-5 * np.abs(before).max())


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


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: paddle.optimizer.Adam(0.01, weight_decay=0.1, grad_clip=nn.ClipGradByGlobalNorm(1.0)),
        lambda: paddle.optimizer.Momentum(0.01, weight_decay=0.1),
        lambda: paddle.optimizer.SGD(0.01, weight_decay=paddle.regularizer.L1Decay(0.1)),
    ],
    ids=["adam", "momentum", "sgd"],
)
def test_training_goes_on_as_it_would_have(optimizer):
    losses = []
    for permute in (False, True):
        net = Net(depthwise, [2, 3, 8, 8], optimizer, own_scope=True)
        for step in range(6):
            if permute and step == 3:
                assert permute_channels(net.program, 2, scope=net.scope)[0].permuted
            net.run()
        losses.append([float(net.run()[0]) for _ in range(3)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)  # rounding, through six steps


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


def test_pairs_of_equal_direction_become_neighbours():
    rows = np.array([[9.0, 0, 0], [0, 5, 0], [0, 0, 7], [4, 0, 0], [0, 0, 1], [0, 1, 0], [3, 3, 3]])
    assert similar_together(rows, 2).tolist() == [0, 3, 1, 5, 2, 4, 6]


@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 33])
def test_every_order_is_a_permutation(m, count):
    rows = np.random.default_rng(count).normal(size=(count, 5)) ** 2
    assert sorted(similar_together(rows, m)) == list(range(count))
    assert sorted(similar_together(rows * 0, m)) == list(range(count))


def test_pairs_are_those_of_a_slow_greedy_loop():
    rows = np.random.default_rng(0).normal(size=(24, 9)) ** 2
    likeness, pairs = np.corrcoef(rows), []
    for i, j in sorted(((a, b) for a in range(24) for b in range(a)), key=lambda pair: -likeness[pair]):
        if not {i, j} & {k for pair in pairs for k in pair}:
            pairs.append((j, i))
    assert similar_together(rows, 2).reshape(-1, 2).tolist() == sorted(map(list, pairs))


def test_fours_are_pairs_of_pairs_by_the_sums_of_their_rows():
    rows = np.random.default_rng(1).normal(size=(24, 9)) ** 2
    pairs = similar_together(rows, 2).reshape(-1, 2)
    fours = pairs[similar_together(rows[pairs].sum(1), 2)]
    assert similar_together(rows, 4).tolist() == fours.ravel().tolist()


def test_kept_counts_blocks_of_m_rows():
    energy = np.array([[1.0, 8.0], [2.0, 0.0], [4.0, 1.0]])  # blocks of 2: 3 and 8, then the short 4 and 1
    assert kept(energy, 2, 0.5) == (8 + 4) / 16 and kept(energy, 2, 0.2) == 15 / 16
    assert kept(energy, 2, 0.0) == 1 == kept(energy * 0, 2, 0.5)


@pytest.mark.parametrize(
    "wrong, message",
    [({"m": 3}, "`m` must be 2 or 4, got 3"), ({"m": 2, "sparsity": 1.0}, r"`sparsity` must be in \[0, 1\), got 1.0")],
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


def test_nothing_is_changed_when_an_accumulator_has_no_value():
    net = randomised(averaged, lambda: paddle.optimizer.Momentum(0.1))
    weights = {name: value for name, value in net.everything().items() if name.endswith(("w_0", "b_0"))}
    net.scope.erase([name for name in net.everything() if "linear_0.w_0_velocity" in name])
    with pytest.raises(ValueError, match="linear_0.w_0_velocity_0 must have a value"):
        permute_channels(net.program, 2)
    assert all((net.get(name) == value).all() for name, value in weights.items())
