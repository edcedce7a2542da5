# SPDX-License-Identifier: Apache-2.0
"""Scores by which the highest of each group never fall."""

from __future__ import annotations

import paddle
from paddle import Tensor

from ..graph.in_place import add_, scale_, subtract_
from .pieces import by_rows


def protect_highest(scores: Tensor, axis: int, n: int, m: int, mask: Tensor | None = None) -> Tensor:
    """The scores, with infinity for the n highest of every m that follow each other along an axis.

    Of equal scores in a group the later ones are the higher.

    Args:
        scores: scores of weights, of any shape.
        axis: its axis along which groups lie; m divides it.
        n: how many of a group are protected.
        m: length of a group.
        mask: 0 where a weight was pruned before: it is the lowest of its group, whatever its score.

    Example:
        >>> protect_highest(paddle.to_tensor([1.0, 4.0, 2.0, 3.0]), 0, 2, 4).tolist()
        [1.0, inf, 2.0, inf]
    """
    given = [scores] if mask is None else [scores, mask]
    return by_rows(lambda *rows: _protected(axis, n, m, *rows), *given, multiple=m if axis == 0 else 1)


def _protected(axis: int, n: int, m: int, scores: Tensor, mask: Tensor | None = None) -> Tensor:
    shape = list(scores.shape)
    if mask is not None:  # pruned before: -infinity, or else the score
        scores = paddle.minimum(scores, paddle.scale(mask, float("inf"), -0.5, bias_after_scale=False))
    grouped = scores.reshape([*shape[:axis], shape[axis] // m, m, *shape[axis + 1 :]])
    members = [member.contiguous() for member in paddle.unbind(grouped, axis + 1)]
    # How many of the group fall before it: at first, all the later ones.
    falls_before = [paddle.full_like(member, m - 1 - i) for i, member in enumerate(members)]
    for j, later in enumerate(members):
        for i, earlier in enumerate(members[:j]):
            first = (earlier <= later).cast(later.dtype)
            add_(falls_before[j], first)
            subtract_(falls_before[i], first)
    falls = m - n - 0.5  # so many of a group fall: infinity beyond them, -infinity before
    kept = [
        paddle.maximum(member, scale_(before, float("inf"), -falls, False))
        for member, before in zip(members, falls_before)
    ]
    return paddle.stack(kept, axis + 1).reshape(shape)
