# SPDX-License-Identifier: Apache-2.0
"""Large tensors are worked on piece by piece: what is found is what one pass finds."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from nets import tensor

from paddle_unstructured import NM, Block, Filter
from paddle_unstructured.graph.base import Param
from paddle_unstructured.ranking import pieces
from paddle_unstructured.ranking.cut import cut
from paddle_unstructured.ranking.lamp import lamp_cut
from paddle_unstructured.ranking.pieces import by_rows, pieces_of

LINEAR = Param("w", (24, 10), "float32", "linear", "pd_op.matmul", 1, 0)
TRANSPOSED = Param("w", (10, 24), "float32", "linear", "pd_op.matmul", 0, 1)
CONV = Param("w", (10, 8, 3, 3), "float32", "conv2d", "pd_op.conv2d", 0, 1)


def test_pieces_are_stretches_and_the_last_one_may_be_short(monkeypatch):
    monkeypatch.setattr(pieces, "PIECE", 4)
    numbers = paddle.arange(10)
    assert [(a.tolist(), b.tolist()) for a, b in pieces_of(numbers, -numbers)] == [
        ([0, 1, 2, 3], [0, -1, -2, -3]),
        ([4, 5, 6, 7], [-4, -5, -6, -7]),
        ([8, 9], [-8, -9]),
    ]


def test_what_is_written_into_a_piece_is_in_the_whole(monkeypatch):
    monkeypatch.setattr(pieces, "PIECE", 4)
    numbers = paddle.zeros([6])
    for i, (piece,) in enumerate(pieces_of(numbers)):
        paddle.assign(paddle.full_like(piece, i + 1.0), output=piece)
    assert numbers.tolist() == [1, 1, 1, 1, 2, 2]


def test_rows_that_belong_together_stay_in_one_piece(monkeypatch):
    monkeypatch.setattr(pieces, "PIECE", 10)
    seen = []

    def make(rows):
        seen.append(rows.shape[0])
        return rows * 2

    rows = paddle.arange(22).reshape([11, 2])
    assert by_rows(make, rows, multiple=3).tolist() == (rows * 2).tolist()
    assert seen == [3, 3, 3, 2]


@pytest.mark.parametrize("ranked", [cut, lamp_cut], ids=lambda ranked: ranked.__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("total", [0, 40, 77, 150, 200])
def test_a_cut_in_pieces_is_the_cut(ranked, dtype, total, monkeypatch):
    rng = np.random.default_rng(total)
    scores = [rng.integers(0, 9, 120).astype(dtype), np.abs(rng.normal(size=80)).astype(dtype)]
    alive = [(rng.random(s.shape) > 0.1).astype(dtype) for s in scores]

    def decide():
        low, high = tensor([0, 10], "int64"), tensor([120, 80], "int64")
        found = ranked(
            [tensor(s, dtype) for s in scores],
            [tensor(a, dtype) for a in alive],
            [1, 1],
            total=tensor([total], "int64"),
            low=low,
            high=high,
        )
        return [k.tolist() for k in found.keep], found.pruned.tolist()

    whole = decide()
    monkeypatch.setattr(pieces, "PIECE", 7)
    assert decide() == whole


@pytest.mark.parametrize("param", [LINEAR, TRANSPOSED, CONV], ids=str)
@pytest.mark.parametrize(
    "pattern", [NM(2, 4), Block(2, 1), Block(3, 4), Block(4, 2, kernel="position"), Filter()], ids=str
)
def test_units_in_pieces_are_the_units(pattern, param, monkeypatch):
    rng = np.random.default_rng(0)
    scores = tensor(rng.integers(0, 5, param.shape))
    mask = tensor(rng.integers(0, 2, param.shape))

    def units():
        return pattern.units(scores, param, mask).numpy(), pattern.alive(mask, param).numpy()

    whole = units()
    monkeypatch.setattr(pieces, "PIECE", 60)
    for piecewise, at_once in zip(units(), whole):
        assert piecewise.shape == at_once.shape
        np.testing.assert_allclose(piecewise, at_once, rtol=1e-6)  # sums of several axes may be added in another order
