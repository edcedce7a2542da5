# SPDX-License-Identifier: Apache-2.0
"""Further small architectures: what is pruned at 0.8, in the file too; moving and removing channels changes nothing."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from nets import Net
from paddle import nn

from paddle_unstructured import UnstructuredPruner, sparsity_report, test_program
from paddle_unstructured.channels.permute import permute_channels
from paddle_unstructured.export import check, export, open_model, remove_channels

pytestmark = pytest.mark.usefixtures("static")


def parameter(*shape: int):
    return paddle.create_parameter(list(shape), "float32", default_initializer=nn.initializer.Normal(std=0.3))


def squeezed(x, gate=F.hardsigmoid):
    """Squeeze and excite: 8 -> 4 -> 8."""
    return x * gate(nn.Conv2D(4, 8, 1)(F.relu(nn.Conv2D(8, 4, 1)(F.adaptive_avg_pool2d(x, 1)))))


def mobilenet_v3(x):
    x = F.hardswish(nn.BatchNorm2D(4)(nn.Conv2D(3, 4, 3, 2, 1, bias_attr=False)(x)))
    h = F.hardswish(nn.BatchNorm2D(8)(nn.Conv2D(4, 8, 1, bias_attr=False)(x)))
    h = squeezed(F.hardswish(nn.BatchNorm2D(8)(nn.Conv2D(8, 8, 5, 1, 2, groups=8, bias_attr=False)(h))))
    x = x + nn.BatchNorm2D(4)(nn.Conv2D(8, 4, 1, bias_attr=False)(h))
    return nn.Linear(4, 3)(nn.Dropout(0.2)(F.hardswish(x.mean([2, 3]))))


def unet(x):
    def twice(x, out):
        for _ in range(2):
            x = F.relu(nn.BatchNorm2D(out)(nn.Conv2D(x.shape[1], out, 3, padding=1)(x)))
        return x

    a = twice(x, 4)
    up = nn.Conv2DTranspose(8, 4, 2, 2)(twice(F.max_pool2d(a, 2), 8))
    return nn.Conv2D(4, 2, 1)(twice(paddle.concat([a, up], 1), 4))


def crnn(x):
    x = F.relu(nn.Conv2D(1, 8, (4, 3), padding=(0, 1))(x)).squeeze(2).transpose([0, 2, 1])
    return nn.Linear(12, 5)(nn.LSTM(8, 6, direction="bidirect")(x)[0])


def swin(x):
    """Shifted windows of 2 x 2, a table of relative positions, patches merged."""
    x = nn.Conv2D(3, 8, 2, 2)(x).transpose([0, 2, 3, 1])
    y = paddle.roll(nn.LayerNorm(8)(x), [-1, -1], [1, 2])
    y = y.reshape([2, 2, 2, 2, 2, 8]).transpose([0, 1, 3, 2, 4, 5]).reshape([-1, 4, 8])
    q, k, v = nn.Linear(8, 24)(y).reshape([-1, 4, 3, 2, 4]).transpose([2, 0, 3, 1, 4]).unbind(0)
    table = paddle.index_select(parameter(9, 2), paddle.to_tensor(np.arange(16) % 9))
    scores = F.softmax(q * 0.5 @ k.transpose([0, 1, 3, 2]) + table.reshape([4, 4, 2]).transpose([2, 0, 1]))
    y = nn.Linear(8, 8)((scores @ v).transpose([0, 2, 1, 3]).reshape([-1, 4, 8]))
    y = y.reshape([2, 2, 2, 2, 2, 8]).transpose([0, 1, 3, 2, 4, 5]).reshape([2, 4, 4, 8])
    x = x + paddle.roll(y, [1, 1], [1, 2])
    merged = paddle.concat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
    return nn.Linear(32, 16, bias_attr=False)(nn.LayerNorm(32)(merged)).mean([1, 2])


def seq2seq(x):
    """A GRU reads, a GRU cell writes two steps, with additive attention."""
    read, last = nn.GRU(4, 8)(x)
    cell, attend, score, out = nn.GRUCell(12, 8), nn.Linear(8, 8, bias_attr=False), nn.Linear(8, 1), nn.Linear(8, 4)
    state, y, written = last[0], x[:, 0], []
    for _ in range(2):
        weights = F.softmax(score(paddle.tanh(attend(read) + state.unsqueeze(1))), 1)
        state, _ = cell(paddle.concat([y, (weights * read).sum(1)], -1), state)
        written.append(y := out(state))
    return paddle.stack(written, 1)


def wavenet(x):
    """Dilated convolutions whose weights are normed per output: g * v / |v|."""
    x, skips = nn.Conv1D(1, 6, 1)(x), []
    for dilation in (1, 2):
        v, g = parameter(12, 6, 2), parameter(12, 1, 1)
        weight = g * v / ((v * v).sum([1, 2], keepdim=True) + 1e-6).sqrt()  # a row may lose all its weights
        a, b = paddle.chunk(F.conv1d(F.pad(x, [dilation, 0], data_format="NCL"), weight, dilation=dilation), 2, 1)
        h = paddle.tanh(a) * F.sigmoid(b)
        skips.append(nn.Conv1D(6, 4, 1)(h))
        x = x + h
    return nn.Conv1D(4, 2, 1)(F.relu(skips[0] + skips[1]))


def pointnet(x):
    turn = nn.Linear(8, 9)(F.relu(nn.BatchNorm1D(8)(nn.Conv1D(3, 8, 1)(x))).max(-1)).reshape([-1, 3, 3])
    x = (x.transpose([0, 2, 1]) @ (turn + paddle.eye(3))).transpose([0, 2, 1])
    return nn.Linear(8, 4)(nn.BatchNorm1D(8)(nn.Conv1D(3, 8, 1)(x)).max(-1))


def siamese(x):
    layers = nn.Conv2D(1, 4, 3), nn.Linear(64, 8)
    a, b = (layers[1](F.relu(layers[0](half)).flatten(1)) for half in paddle.split(x, 2, 1))
    return nn.Linear(8, 1)(paddle.abs(a - b))


def hard_gated(x):
    return nn.Conv2D(8, 4, 1)(squeezed(nn.Conv2D(3, 8, 3)(x), F.hardswish))


def learned_gate(x):
    """w * sigmoid(g): a zero of w is one of the product, the gate is not a weight."""
    return nn.Linear(6, 3)(F.relu(x @ (parameter(8, 6) * F.sigmoid(parameter(8, 6)))))


def low_rank(x):
    """w + a @ b beside it, as LoRA trains it."""
    return nn.Linear(6, 3)(F.relu(nn.Linear(8, 6)(x) + x @ parameter(8, 2) @ parameter(2, 6) * 0.5))


def shuffled(x):
    a, b = paddle.split(nn.Conv2D(3, 8, 3, padding=1)(x), 2, 1)
    b = nn.Conv2D(4, 4, 1)(nn.Conv2D(4, 4, 3, padding=1, groups=4)(b))
    return nn.Linear(8, 2)(F.channel_shuffle(paddle.concat([a, b], 1), 2).mean([2, 3]))


SQUEEZE = 2 * 8 * 4
LSTM, GRU = 2 * 24 * (8 + 6), 24 * (4 + 8)
# Net -> (input, weights that are pruned, params of more than one axis that are not)
NETS = {
    "MobileNetV3": (mobilenet_v3, [2, 3, 6, 6], 4 * 27 + 2 * 4 * 8 + 8 * 25 + SQUEEZE + 4 * 3, 0),
    "UNet": (unet, [2, 3, 4, 4], 9 * (12 + 16 + 32 + 64 + 32 + 16) + 8 * 4 * 4 + 8, 0),
    "CRNN": (crnn, [2, 1, 4, 6], 8 * 12 + LSTM + 12 * 5, 0),
    "Swin": (swin, [2, 3, 8, 8], 8 * 12 + 8 * 24 + 64 + 32 * 16, 9 * 2),
    "GRU with attention": (seq2seq, [2, 3, 4], GRU + 24 * (12 + 8) + 64 + 8 + 32, 0),
    "WaveNet": (wavenet, [2, 1, 6], 6 + 2 * (12 * 6 * 2 + 24) + 8, 2 * 12),
    "PointNet": (pointnet, [2, 3, 6], 2 * 24 + 72 + 32, 0),
    "siamese": (siamese, [2, 2, 6, 6], 36 + 64 * 8 + 8, 0),
    "squeeze and excite by hardswish": (hard_gated, [2, 3, 4, 4], 8 * 27 + SQUEEZE + 32, 0),
    "learned gate": (learned_gate, [2, 8], 48 + 18, 48),
    "low rank": (low_rank, [2, 8], 48 + 16 + 12 + 18, 0),
    "shuffled channels": (shuffled, [2, 3, 4, 4], 8 * 27 + 36 + 16 + 16, 0),
}


def adam():
    return paddle.optimizer.Adam(0.01)


@pytest.mark.parametrize("case", NETS)
def test_every_count_is_numpys_over_all_params(case, tmp_path):
    layers, shape, weights, others = NETS[case]
    net = Net(layers, shape, adam)
    pruner = UnstructuredPruner(net.program, ratio=0.8)
    net.train(pruner, 2)
    chosen = {param.name for param in pruner.params}
    params = {
        v.name: net.get(v.name) for v in net.program.global_block().all_parameters() if "learning_rate" not in v.name
    }
    assert sum(params[name].size for name in chosen) == weights
    assert (
        sum(a.size for name, a in params.items() if name not in chosen and (np.array(a.shape) > 1).sum() > 1) <= others
    )
    assert sum(a.size for name, a in params.items() if name not in chosen and a.ndim > 1) == others
    assert net.zeros(*chosen) == round(0.8 * weights)
    report = sparsity_report(net.program, pruner=pruner)
    assert {row.name: row.zeros for row in report.rows} == {row.name: net.zeros(row.name) for row in report.rows}

    export(net.program, [net.input], [net.output], tmp_path / "model", pruner)
    x = np.random.default_rng(1).normal(size=shape).astype("float32")
    test, (output,) = test_program(net.program, [net.output])
    (wanted,) = net.exe.run(test, feed={"x": x}, fetch_list=[output])
    model = open_model(tmp_path / "model")
    np.testing.assert_array_equal(model.run(x=x)[0], model.run(x=x)[0])
    np.testing.assert_allclose(model.run(x=x)[0], wanted, rtol=1e-4, atol=1e-5)
    assert sum(int((model.graph.array(name) == 0).sum()) for name in chosen) == round(0.8 * weights)
    assert check(model.program, model.scope, sparsity=0.79, params="|".join(chosen)).holds
    for change in (
        lambda m: permute_channels(m.program, 4, scope=m.scope),
        lambda m: remove_channels(m.program, m.scope),
    ):
        changed = open_model(tmp_path / "model")
        change(changed)
        np.testing.assert_allclose(changed.run(x=x)[0], wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("order", ["before minimize", "before the startup Program"])
@pytest.mark.parametrize("case", NETS)
def test_the_order_changes_nothing(case, order):
    layers, shape, weights, _ = NETS[case]
    early = order == "before minimize"
    net = Net(layers, shape, None if early else adam, started=early)
    pruner = UnstructuredPruner(net.program, ratio=0.8)
    net.minimize(adam) if early else net.start()
    net.train(pruner, 2)
    chosen = [param.name for param in pruner.params]
    assert (sum(net.get(name).size for name in chosen), net.zeros(*chosen)) == (weights, round(0.8 * weights))
