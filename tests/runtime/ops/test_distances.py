# SPDX-License-Identifier: Apache-2.0
"""Numbers by how far a key is from a query, and turned positions, of lengths that are open: against Paddle."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F
from runtime_nets import assert_like_paddle

pytestmark = pytest.mark.usefixtures("static")
HEADS, DEPTH = 2, 6
SEQUENCE = [-1, -1, HEADS * DEPTH]


def length(x):
    return paddle.shape(x)[1]


def rows_and_columns(x):
    places = paddle.arange(length(x))
    return places.unsqueeze(1), places.unsqueeze(0)


def bucketed(x):
    """The biases of T5: near distances one by one, far ones by their logarithm."""
    rows, columns = rows_and_columns(x)
    distance = columns - rows
    half = (distance > 0).astype("int64") * 4
    far = paddle.abs(distance)
    large = 2 + (paddle.log(far.astype("float32") / 2) / np.log(8 / 2) * 2).astype("int64")
    large = paddle.minimum(large, paddle.full_like(large, 3))
    table = nn.Embedding(8, HEADS)
    return table(half + paddle.where(far < 2, far, large)).transpose([2, 0, 1]).unsqueeze(0)


def sloped(x):
    rows, columns = rows_and_columns(x)
    slopes = paddle.to_tensor([0.5, 0.25]).reshape([1, HEADS, 1, 1])
    return -paddle.abs(columns - rows).astype("float32").unsqueeze([0, 1]) * slopes


def compared(x):
    """A causal mask out of two ranges."""
    rows, columns = rows_and_columns(x)
    return (columns > rows).astype("float32") * -1e4


def banded(x):
    rows, columns = rows_and_columns(x)
    near = paddle.logical_and(rows - columns < 3, columns <= rows)
    return paddle.where(near, paddle.zeros([1]), paddle.full([1], -1e4))


def drawn(x):
    return paddle.triu(paddle.full([length(x), length(x)], -1e4), 1)


def two_sided(x):
    ones = paddle.ones([length(x), length(x)])
    return paddle.triu(ones, 2) * -0.5 + paddle.tril(ones, -1) * 0.25


BIASES = {one.__name__: one for one in (bucketed, sloped, compared, banded, drawn, two_sided)}


def heads(x):
    return x.reshape([0, -1, HEADS, DEPTH]).transpose([0, 2, 1, 3])


def attention(x, bias, turned=lambda each: each):
    width = HEADS * DEPTH
    q, k, v = (heads(nn.Linear(width, width)(x)) for _ in range(3))
    scores = turned(q) @ turned(k).transpose([0, 1, 3, 2]) * DEPTH**-0.5
    made = F.softmax(scores if bias is None else scores + bias, -1) @ v
    return nn.Linear(width, 5)(made.transpose([0, 2, 1, 3]).reshape([0, -1, width]))


@pytest.mark.parametrize("name", BIASES)
@pytest.mark.parametrize("tokens", [1, 7, 40])
def test_an_attention_with_numbers_by_distance(tmp_path, name, tokens):
    plan = assert_like_paddle(tmp_path, lambda x: attention(x, BIASES[name](x)), SEQUENCE, [2, tokens, HEADS * DEPTH])
    assert "attention " in plan
    assert ("causal=1" in plan) == (name in ("compared", "drawn"))


def test_positions_that_are_turned(tmp_path):
    """Rotary positions: sine and cosine of a product of a range and of frequencies, put side by side."""

    def layers(x):
        angles = paddle.einsum(
            "i,j->ij", paddle.arange(length(x)).astype("float32"), paddle.to_tensor([1.0, 0.1, 0.01])
        )
        angles = paddle.concat([angles, angles], -1)
        cosine, sine = paddle.cos(angles)[None, None], paddle.sin(angles)[None, None]

        def turned(q):
            return q * cosine + paddle.concat([-q[..., 3:], q[..., :3]], -1) * sine

        return attention(x, None, turned)

    assert_like_paddle(tmp_path, layers, SEQUENCE, [2, 9, HEADS * DEPTH])


def test_what_does_not_depend_on_the_distance_alone_is_refused(tmp_path):
    def layers(x):
        rows, columns = rows_and_columns(x)
        return attention(x, (rows * columns).astype("float32") * 1e-3)

    with pytest.raises(ValueError, match="ranges of rows and columns meet in a way that does not depend on"):
        assert_like_paddle(tmp_path, layers, SEQUENCE)


def test_a_sequence_beyond_the_table_is_refused_by_its_length(monkeypatch, tmp_path):
    monkeypatch.setattr("paddle_unstructured.runtime.prefix._MOST_LAGS", 40)
    with pytest.raises(ValueError, match="a sequence of 30 is too long for the positions of this model"):
        assert_like_paddle(tmp_path, lambda x: attention(x, sloped(x)), SEQUENCE, [2, 30, HEADS * DEPTH])
