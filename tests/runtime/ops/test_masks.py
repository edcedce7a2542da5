# SPDX-License-Identifier: Apache-2.0
"""Masks, positions and what else of a sequence is computed in the graph, against Paddle."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F
from runtime_nets import assert_like_paddle

pytestmark = pytest.mark.usefixtures("static")
SEQUENCE = [-1, -1, 12]


def ids(x):
    """Whole numbers from 0 to 4 out of an activation, [n, tokens]."""
    return sum((x[:, :, 0] > least).astype("int64") for least in (-1.0, -0.3, 0.3, 1.0))


NETS = {
    "compared with a number": lambda x: x * (ids(x) == 2).astype("float32").unsqueeze(-1),
    "not equal": lambda x: x * (ids(x) != 2).astype("float32").unsqueeze(-1),
    "less": lambda x: (x < 0.5).astype("float32") + (x <= 0.1).astype("float32"),
    "greater": lambda x: (x > 0.5).astype("float32") + (x >= 0.1).astype("float32"),
    "both": lambda x: paddle.logical_and(x > 0, x < 1).astype("float32") + x,
    "either": lambda x: paddle.logical_or(x > 1, x < 0).astype("float32") + x,
    "neither": lambda x: paddle.logical_not(x > 1).astype("float32") + x,
    "chosen": lambda x: paddle.where(x > 0, x, x * 0.1),
    "chosen or a number": lambda x: paddle.where(x > 0, x, paddle.full([1], -7.0)),
    "chosen by token": lambda x: paddle.where((ids(x) == 2).unsqueeze(-1), x, paddle.zeros_like(x)),
    "embedded": lambda x: nn.Embedding(5, 12)(ids(x)) + x,
    "embedded, with padding": lambda x: nn.Embedding(5, 12, padding_idx=2)(ids(x)) + x,
    "counted": lambda x: (
        x + nn.Embedding(40, 12)(paddle.cumsum(paddle.ones_like(ids(x)), 1) - paddle.ones_like(ids(x)))
    ),
    "numbered": lambda x: x + nn.Embedding(40, 12)(paddle.arange(0, paddle.shape(x)[1], dtype="int64").unsqueeze(0)),
    "a table cut to the length": lambda x: x + paddle.create_parameter([1, 40, 12], "float32")[:, : paddle.shape(x)[1]],
    "all of one kind": lambda x: x + nn.Embedding(2, 12)(paddle.zeros_like(ids(x))),
}


@pytest.mark.parametrize("name", NETS)
def test_what_masks_and_positions_are_made_of(tmp_path, name):
    assert_like_paddle(tmp_path, NETS[name], SEQUENCE)


@pytest.mark.parametrize("shape", [SEQUENCE, [-1, 6, 12]])
def test_an_encoder_with_a_mask_of_truths(tmp_path, shape):
    def layers(x):
        layer = nn.TransformerEncoderLayer(12, 2, 20)
        layer.eval()
        return layer(x, (ids(x) != 2).unsqueeze([1, 2]))

    assert_like_paddle(tmp_path, layers, shape)


def test_scores_that_are_replaced_where_a_mask_says_so(tmp_path):
    def layers(x):
        scores = paddle.matmul(x, x, transpose_y=True) * 0.1
        hidden = (ids(x) == 2).unsqueeze(1)
        return F.softmax(paddle.where(hidden, paddle.full([1], -1e9), scores)) @ x

    assert_like_paddle(tmp_path, layers, SEQUENCE)


def test_a_causal_attention_whose_scores_are_replaced(tmp_path):
    shown = np.tril(np.ones((1, 1, 40, 40), "bool"))

    def layers(x):
        heads, length = x.reshape([0, 0, 3, 4]).transpose([0, 2, 1, 3]), paddle.shape(x)[1]
        mask = paddle.to_tensor(shown)[:, :, :length, :length]
        scores = paddle.where(mask, paddle.matmul(heads, heads, transpose_y=True), paddle.full([1], -1e9))
        return paddle.matmul(F.softmax(scores), heads).transpose([0, 2, 1, 3]).flatten(2)

    plan = assert_like_paddle(tmp_path, layers, SEQUENCE)
    assert "causal=1" in plan and "attention" in plan


@pytest.mark.parametrize("shifts, axes", [((2, -1), (1, 2)), ((-3,), (2,)), ((5,), (1,))])
def test_rolled_axes(tmp_path, shifts, axes):
    assert_like_paddle(tmp_path, lambda x: paddle.roll(x, shifts, axes) + x, [-1, 6, 12])
