# SPDX-License-Identifier: Apache-2.0
"""Scores by which the units of a row fall in whole bundles."""

from __future__ import annotations

import paddle
from paddle import Tensor


def in_bundles(scores: Tensor, axis: int, count: int) -> Tensor:
    """The root mean square of each unit's bundle: `count` units of a row that follow each other by score.

    Bundles are counted from the highest score down, so that a row that loses whole bundles keeps a multiple of `count`;
    the lowest bundle may be a short one. Equal scores follow each other in stored order. Rows of fewer than 2 * `count`
    units keep their scores.

    Args:
        scores: scores of units, >= 0, of any shape.
        axis: the axis that numbers the rows; all others run over the units of a row.
        count: units of a bundle.

    Example:
        >>> in_bundles(paddle.to_tensor([[1.0, 0.0, 7.0, 0.0, 0.0]]), 0, 2).tolist()
        [[5.0, 0.0, 5.0, 0.0, 0.0]]
    """
    moved = paddle.moveaxis(scores, axis, 0)
    rows = moved.reshape([moved.shape[0], -1])  # [rows, units]
    length = rows.shape[1]
    if length < 2 * count:
        return scores
    order = paddle.argsort(rows, axis=1, descending=True, stable=True)
    ranked = paddle.take_along_axis(rows, order, 1)
    short = -length % count
    filled = paddle.concat([ranked * ranked, paddle.zeros([rows.shape[0], short], rows.dtype)], 1)
    sizes = paddle.full([filled.shape[1] // count], count, rows.dtype)
    sizes[-1] = count - short
    means = paddle.sqrt(filled.reshape([rows.shape[0], -1, count]).sum(-1) / sizes)  # [rows, bundles]
    spread = paddle.repeat_interleave(means, count, 1)[:, :length]
    back = paddle.take_along_axis(spread, paddle.argsort(order, axis=1), 1)
    return paddle.moveaxis(back.reshape(moved.shape), 0, axis)
