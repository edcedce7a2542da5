# SPDX-License-Identifier: Apache-2.0
"""Paddle's recurrent layers, against Paddle."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn
from runtime_nets import assert_like_paddle, relative_error

from paddle_unstructured.runtime.engine import Engine
from paddle_unstructured.runtime.read_net import read_net
from paddle_unstructured.runtime.write_plan import emit
from paddle_unstructured.saved_model import in_inference_mode, open_model

pytestmark = pytest.mark.usefixtures("static")

WIDTH = 10
OPEN = [-1, WIDTH, 1, -1]


def lines(plan, kind):
    return [line for line in plan.split("\n") if line.startswith(kind + " ")]


def sequence(layers):
    """What `layers` makes of [n, steps, width], as planes."""

    def build(x):
        y = layers(x.squeeze(2).transpose([0, 2, 1]))
        return y.transpose([0, 2, 1]).unsqueeze(2) if len(y.shape) == 3 else y

    return build


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.SimpleRNN])
@pytest.mark.parametrize("layers, direction", [(1, "forward"), (2, "bidirect")])
@pytest.mark.parametrize("sparsity", [0.0, 0.92])
def test_recurrent_layers_of_any_kind(tmp_path, kind, layers, direction, sparsity):
    plan = assert_like_paddle(
        tmp_path, sequence(lambda x: kind(WIDTH, 6, layers, direction=direction)(x)[0]), OPEN, sparsity=sparsity
    )
    found = lines(plan, "recurrent")
    assert len(found) == layers * (2 if direction == "bidirect" else 1)
    assert all(("weights=sparse" in line) == (sparsity > 0) for line in found)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("direction", ["forward", "bidirect"])
def test_the_last_states_may_be_read(tmp_path, kind, direction):
    def last(x):
        outputs, states = kind(WIDTH, 6, 2, direction=direction)(x)
        states = paddle.concat(list(states), 0) if kind is nn.LSTM else states
        return outputs + states.mean([0]).unsqueeze(1).sum([2], keepdim=True)

    assert_like_paddle(tmp_path, sequence(last), OPEN)


def test_a_tagger_with_lengths_and_first_states(tmp_path):
    def tagger(x):
        start = x.mean([1])[:, :6].unsqueeze(0)
        count = paddle.full_like(x[:, 0, 0], 4).astype("int64")
        y, _ = nn.LSTM(WIDTH, 6)(x, (start, start * 0.5), count)
        return nn.Linear(6, 3)(y)

    assert_like_paddle(tmp_path, sequence(tagger), OPEN)


class Counted(nn.Layer):
    """Outputs and last states of an LSTM that is told how many steps count."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(WIDTH, 6, 2, direction="bidirect")

    def forward(self, x, count):
        outputs, (last, _) = self.lstm(x, None, count)
        return outputs, last.transpose([1, 0, 2])


def test_lengths_may_come_with_the_input(tmp_path):
    paddle.disable_static()
    net = Counted()
    net.eval()
    shapes = [([-1, -1, WIDTH], "float32"), ([-1], "int64")]
    paddle.jit.save(net, str(tmp_path / "net"), input_spec=[paddle.static.InputSpec(*each) for each in shapes])
    paddle.enable_static()
    model = in_inference_mode(open_model(str(tmp_path / "net")))
    writer, _ = emit(read_net(model))
    given = np.random.default_rng(0).normal(size=(3, 9, WIDTH)).astype("float32"), np.array([9, 4, 1])
    expected = model.run(**dict(zip(model.inputs, given)))
    for ours, theirs in zip(Engine(writer.text, writer.arrays, threads=2).run(*given), expected):
        assert relative_error(ours, theirs.astype("float64")) < 1e-6
