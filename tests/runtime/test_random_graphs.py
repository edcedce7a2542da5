# SPDX-License-Identifier: Apache-2.0
"""Small nets put together at random of what the runtime covers, beside Paddle; and with an op that it does not know."""

import random as choices

import numpy as np
import paddle
import paddle.nn as nn
import paddle.nn.functional as F
import pytest
from runtime_nets import relative_error, save_net

from paddle_unstructured.runtime import convert, create_predictor
from paddle_unstructured.runtime.engine import Engine
from paddle_unstructured.runtime.read_net import read_net
from paddle_unstructured.runtime.write_plan import emit
from paddle_unstructured.saved_model import in_inference_mode, open_model

pytestmark = pytest.mark.usefixtures("static")
LENGTH = 9  # ops of a net
FEW, MANY = range(4), range(4, 120)


def conv(x, pick):
    kernel, groups = pick.choice([1, 1, 3, 5]), pick.choice([1, 1, 1, 2]) if x.shape[1] % 2 == 0 else 1
    outputs = 4 * pick.randint(1, 4)
    return nn.Conv2D(x.shape[1], outputs, kernel, pick.choice([1, 1, 2]), kernel // 2, groups=groups)(x)


def depthwise(x, pick):
    rows, columns = pick.choice([(3, 3), (5, 5), (7, 7), (1, 5), (3, 1)])
    stride = pick.choice([1, 1, (2, 1), (1, 2)])
    return nn.Conv2D(x.shape[1], x.shape[1], (rows, columns), stride, (rows // 2, columns // 2), groups=x.shape[1])(x)


def function(x, pick):
    return pick.choice([F.relu, F.relu6, F.hardswish, F.hardsigmoid, F.sigmoid, F.silu, paddle.tanh, F.gelu])(x)


def gate(x, pick):
    channels = x.shape[1]
    return x * F.sigmoid(nn.Conv2D(channels, channels, 1)(F.adaptive_avg_pool2d(x, 1)))


def residual(x, pick):
    other = nn.Conv2D(x.shape[1], x.shape[1], 1)(x)
    return pick.choice([paddle.add, paddle.subtract, paddle.maximum, paddle.multiply])(x, other)


def mean_map(x, pick):
    return x - pick.choice([paddle.mean, paddle.max, paddle.min])(x, axis=1, keepdim=True)


def halves(x, pick):
    a, b = paddle.split(x, 2, axis=1)
    return paddle.concat([b, function(a, pick)], axis=1)


def shuffle(x, pick):
    n, channels, height, width = x.shape
    split = x.reshape([0, 2, channels // 2, height, width]).transpose([0, 2, 1, 3, 4])
    return split.reshape([0, channels, height, width])


def turned(x, pick):
    """A linear layer on tokens, or on what is left of a channel behind a transpose."""
    channels, height, width = x.shape[1:]
    tokens = x.flatten(2).transpose([0, 2, 1])
    tokens = nn.LayerNorm(channels)(nn.Linear(channels, channels)(tokens))
    return tokens.transpose([0, 2, 1]).reshape([0, channels, height, width])


def strided(x, pick):
    return x[:, pick.choice([0, 1]) :: 2] if x.shape[1] % 8 == 0 else x[:, :, ::2]


def pool(x, pick):
    kind = pick.choice([F.max_pool2d, F.avg_pool2d])
    return kind(x, 3, pick.choice([1, 2]), 1)


def norm(x, pick):
    return nn.BatchNorm2D(x.shape[1])(x)


STEPS = [conv, conv, depthwise, function, gate, residual, mean_map, halves, shuffle, turned, strided, pool, norm]


def net(seed, *, unknown=False):
    """A function that builds the net of a seed; with `unknown`, `lgamma` stands in its middle."""

    def layers(x):
        pick = choices.Random(seed)
        x = conv(x, pick)
        for i in range(LENGTH):
            x = pick.choice(STEPS)(x, pick)
            if unknown and i == LENGTH // 2:
                x = conv(paddle.lgamma(1.0 + paddle.square(conv(x, pick))), pick)  # far from the poles
        heads = [nn.Linear(x.shape[1], 5)(x.mean([2, 3])), paddle.argmax(x, axis=1)]
        return [heads[0], x.transpose([0, 2, 3, 1]), heads[1]][: pick.randint(1, 3)]

    return layers


def check(got, expected):
    assert len(got) == len(expected)
    for a, b in zip(got, expected):
        assert a.shape == b.shape and a.dtype == b.dtype
        if b.dtype.kind == "i":
            assert (a != b).mean() < 0.02  # ties of rounding
        else:
            assert relative_error(a, b) < 2e-5


def compare_whole(folder, seed):
    model = in_inference_mode(open_model(save_net(folder, net(seed), [-1, 3, 12, 20], sparsity=0.5, seed=seed)))
    x = np.random.default_rng(seed).normal(size=(2, 3, 12, 20)).astype("float32")
    writer, _ = emit(read_net(model))
    check(Engine(writer.text, writer.arrays, threads=1 + seed % 2).run(x), model.run(x=x))


@pytest.mark.parametrize("seed", FEW)
def test_a_net_at_random_returns_what_paddle_does(tmp_path, seed):
    compare_whole(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY)
def test_many_nets_at_random_return_what_paddle_does(tmp_path, seed):
    compare_whole(tmp_path, seed)


def compare_parts(folder, seed):
    prefix = save_net(folder, net(seed, unknown=True), [-1, 3, 12, 20], sparsity=0.5, seed=seed)
    table = convert(prefix, folder / "fast")
    assert not table.converted and {one.op for one in table.refused} == {"lgamma"}
    assert table.parts and table.covered > 0.98, str(table)
    x = np.random.default_rng(seed).normal(size=(2, 3, 12, 20)).astype("float32")
    predictor = create_predictor(folder / "fast")
    predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(x)
    predictor.run()
    got = [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]
    check(got, open_model(prefix).run(x=x))


def test_an_unknown_op_in_the_middle_costs_only_itself(tmp_path):
    compare_parts(tmp_path, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 30))
def test_an_unknown_op_in_the_middle_of_many_nets_costs_only_itself(tmp_path, seed):
    compare_parts(tmp_path, seed)
