# SPDX-License-Identifier: Apache-2.0
"""Paddle's recurrent layers, against Paddle."""

from __future__ import annotations

import paddle
import pytest
from paddle import nn
from runtime_nets import assert_like_paddle

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
@pytest.mark.parametrize("sparsity", [0.0, 0.8])
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
