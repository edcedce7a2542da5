# SPDX-License-Identifier: Apache-2.0
"""The range of an activation: a running average of the batches' extremes, [sum of minima, sum of maxima, weight]."""

from __future__ import annotations

import json
from typing import Callable, Collection, Iterable, Mapping

import paddle
from paddle import Tensor
from paddle.base.libpaddle import pir

from ..formats.pair import SHA256_OF_PARAMS
from ..graph.in_place import assign_
from ..graph.rounded import mark_moving_range


def updated(range_: Tensor, x: Tensor, decay: float) -> Tensor:
    """The range after one more batch, as `moved` makes it, written into its variable; in both graphs."""
    with paddle.no_grad():
        written = assign_(range_, moved(range_, x, decay))
    if isinstance(written, pir.Value):
        mark_moving_range(written)
    return written


def moved(range_: Tensor, x: Tensor, decay: float) -> Tensor:
    """The range after one more batch.

        low <- decay * low + min(x),    high <- decay * high + max(x),    weight <- decay * weight + 1

    A batch with NaN or infinity in it leaves the range as it was: one such batch would spoil it for good.

    Args:
        range_: Float32 [3].
        x: the batch.
        decay: factor of the running average, in [0, 1).
    """
    with paddle.no_grad():
        low, high = paddle.min(x), paddle.max(x)
        seen = paddle.stack([low, high, paddle.ones([], "float32")])
        is_finite = paddle.isfinite(low) & paddle.isfinite(high)
        return paddle.where(is_finite, range_ * decay + seen, range_)


def widest(ranges: Iterable[list[float]]) -> list[float]:
    """The range [low, high] that holds all of these."""
    lows, highs = zip(*ranges)
    return [min(lows), max(highs)]


def ranges_beside(
    ranges: Mapping[str, Mapping[str, list[float]]],
) -> dict[str, Callable[[str, Collection[str]], str]]:
    """The file of learned ranges as `export` writes it beside a model: of the weights that the model has, and it says
    whose they are."""

    def written(sha256: str, params: Collection[str]) -> str:
        own = {name: sides for name, sides in ranges.items() if name in params}
        return json.dumps({SHA256_OF_PARAMS: sha256, **own}, indent=1) + "\n"

    return {".ranges.json": written}
