# SPDX-License-Identifier: Apache-2.0
"""Small copies of real architectures: what is pruned in them, and that every count is numpy's."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from nets import Net, branches, loop
from paddle import nn

from paddle_unstructured import UnstructuredPruner, sparsity_report
from paddle_unstructured.export import export, open_model

pytestmark = pytest.mark.usefixtures("static")


def parameter(*shape: int):
    return paddle.create_parameter(list(shape), "float32", default_initializer=nn.initializer.Normal(std=0.3))


def gpt(x):
    """Fused qkv, learned positions, an embedding that is the output layer too."""
    words, layer = nn.Embedding(20, 8), nn.LayerNorm(8)
    x = words(paddle.clip(x.abs() * 9, max=19.0).cast("int64")) + parameter(1, 5, 8)
    q, k, v = nn.Linear(8, 24)(layer(x)).reshape([2, 5, 3, 2, 4]).transpose([2, 0, 3, 1, 4]).unbind(0)
    scores = F.softmax(q @ k.transpose([0, 1, 3, 2]) + paddle.triu(paddle.full([5, 5], -1e9), 1))
    x = x + nn.Linear(8, 8)((scores @ v).transpose([0, 2, 1, 3]).reshape([2, 5, 8]))
    return paddle.matmul(x, words.weight, transpose_y=True)


def vit(x):
    """Patches, a class token, positions, relative positions, one weight split in q, k and v, a layer scale."""
    x = nn.Conv2D(3, 8, 2, 2)(x).flatten(2).transpose([0, 2, 1])
    x = paddle.concat([parameter(1, 1, 8).expand([2, -1, -1]), x], 1) + parameter(1, 10, 8)
    q, k, v = (x @ weight for weight in paddle.split(parameter(8, 24), 3, axis=1))
    table = parameter(9, 1)[paddle.to_tensor(np.arange(100) % 9)].reshape([10, 10])
    return x + parameter(8) * (F.softmax(q @ k.transpose([0, 2, 1]) + table) @ v)


def convnext(x):
    x = nn.Conv2D(4, 4, 3, padding=1, groups=4)(x).transpose([0, 2, 3, 1])
    return nn.Linear(16, 4)(F.gelu(nn.Linear(4, 16)(nn.LayerNorm(4)(x)))) * parameter(4)


def experts(x):
    hidden = F.relu(paddle.einsum("bi,eio->beo", x, parameter(3, 4, 8)))
    gate = F.softmax(nn.Linear(4, 3)(x)).unsqueeze(-1)
    return (paddle.bmm(hidden.transpose([1, 0, 2]), parameter(3, 8, 4)).transpose([1, 0, 2]) * gate).sum(1)


def standardised(x):
    """BiT: the first weight is standardised, the second is not."""
    weight = parameter(8, 4, 3, 3)
    weight = weight - weight.mean([1, 2, 3], keepdim=True)
    x = F.conv2d(x, weight / (weight**2).mean([1, 2, 3], keepdim=True).sqrt())
    return nn.Conv2D(8, 4, 1)(x)


def shared(x):
    layer = nn.Linear(4, 4)
    return layer(paddle.tanh(layer(x)))


def transposed(x):
    x = nn.Conv3DTranspose(6, 4, 3)(nn.Conv3D(4, 6, 3)(x))
    return nn.Conv1DTranspose(4, 4, 3)(nn.Conv1D(4, 4, 3)(x.flatten(2)))


# Net -> (input, weights that are pruned, weights that cannot be followed)
NETS = {
    "GPT": (gpt, [2, 5], 20 * 8 + 8 * 24 + 8 * 8, 0),
    "ViT": (vit, [2, 3, 6, 6], 8 * 3 * 4 + 8 * 24, 0),
    "ConvNeXt": (convnext, [2, 4, 5, 5], 4 * 9 + 2 * 4 * 16, 0),
    "mixture of experts": (experts, [2, 4], 2 * 3 * 4 * 8 + 4 * 3, 0),
    "standardised": (standardised, [2, 4, 5, 5], 8 * 4, 8 * 4 * 9),
    "shared": (shared, [2, 4], 16, 0),
    "convolutions of 1 and 3 axes": (transposed, [2, 4, 4, 4, 4], 2 * 4 * 6 * 27 + 2 * 4 * 4 * 3, 0),
    "LSTM": (
        lambda x: nn.LSTM(4, 8, 2, direction="bidirect")(x)[0],
        [2, 3, 4],
        4 * 32 * 8 + 2 * 32 * 4 + 2 * 32 * 16,
        0,
    ),
    "GRU": (lambda x: nn.GRU(4, 8)(x)[0], [2, 3, 4], 24 * 4 + 24 * 8, 0),
    "simple RNN": (lambda x: nn.SimpleRNN(4, 8)(x)[0], [2, 3, 4], 8 * 4 + 8 * 8, 0),
    "a loop": (loop, [2, 4], 16, 0),
    "branches": (branches, [2, 4], 16, 0),
}


@pytest.mark.parametrize("case", NETS)
def test_every_count_is_numpys_in_training_and_in_the_exported_file(case, tmp_path):
    layers, shape, weights, unfollowed = NETS[case]
    net = Net(layers, shape, lambda: paddle.optimizer.Adam(0.01))
    before = sparsity_report(net.program)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    net.train(pruner, 2)
    assert sum(param.size for param in pruner.params) == weights
    report = sparsity_report(net.program, pruner=pruner)
    assert sum(row.weights for row in report.unfollowed) == unfollowed
    assert report.share == weights / (weights + unfollowed)
    assert {row.name: row.zeros for row in report.rows} == {row.name: net.zeros(row.name) for row in report.rows}
    assert report.counts["selected"] == (weights // 2, weights)
    assert pruner.total_sparse(net.program) == (weights // 2) / (weights + unfollowed)
    exported = export(net.program, [net.input], [net.output], tmp_path / "model", pruner)
    model = open_model(tmp_path / "model")
    in_file = sum(int((model.graph.array(param.name) == 0).sum()) for param in pruner.params)
    assert in_file == exported.report.counts["selected"][0] == weights // 2
    assert len(report.rows) == len(before.rows)
