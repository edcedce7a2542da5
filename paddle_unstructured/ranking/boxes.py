# SPDX-License-Identifier: Apache-2.0
"""Weights in boxes: one number for each box, and the numbers back over its weights.

`extents` is the width of a box along each stored axis. Boxes start at index 0; where an extent does not divide its axis
the last box is a short one.
"""

from __future__ import annotations

from functools import reduce
from math import prod
from typing import Callable, Sequence

import paddle
from paddle import Tensor

from ..graph.in_place import add_
from .cut import Size
from .pieces import by_rows

NORMS = ("l2", "l1", "max")
_FEW = 4  # members of a box that are joined one after the other: faster than Paddle's reductions, to the same bits


def norms(name: str, weights: Tensor, extents: Sequence[int]) -> Tensor:
    """The norm of each box, in the shape of boxes."""
    return _each(lambda split, inner: _norm(name, split, inner), weights, extents)


def highest(mask: Tensor, extents: Sequence[int]) -> Tensor:
    """The highest number in each box, in the shape of boxes."""
    return _each(_highest, mask, extents)


def sizes(shape: Sequence[int], extents: Sequence[int]) -> Size:
    """Weights in each box: one number, or int64 [boxes] where some are short."""
    if all(length % extent == 0 for length, extent in zip(shape, extents)):
        return prod(extents)
    split, inner, _ = _split(paddle.ones(list(shape), "float32"), extents)
    return (paddle.sum(split, axis=inner) if inner else split).flatten().cast("int64")


def spread(boxes: Tensor, shape: Sequence[int], extents: Sequence[int]) -> Tensor:
    """Each box's number on all of its weights."""
    units, widths = grid(shape, extents)
    filled = [-(-length // extent) * extent for length, extent in zip(shape, extents)]
    weights = paddle.tile(boxes.reshape(units), widths).reshape(filled)
    return weights if filled == list(shape) else weights[tuple(slice(0, length) for length in shape)]


def grid(shape: Sequence[int], extents: Sequence[int]) -> tuple[list[int], list[int]]:
    """The shape of the boxes with axes of 1 for their own insides, and how wide they are along all of these."""
    units: list[int] = []
    widths: list[int] = []
    for length, extent in zip(shape, extents):
        count = -(-length // extent)
        units += [count] if count == 1 or extent == 1 else [count, 1]  # Paddle's tile takes 7 axes at most
        widths += [extent] if count == 1 or extent == 1 else [1, extent]
    return units, widths


def _each(of_boxes: Callable[[Tensor, list[int]], Tensor], weights: Tensor, extents: Sequence[int]) -> Tensor:
    """`of_boxes(split, inner)` in the shape of boxes."""

    def in_boxes(rows: Tensor) -> Tensor:
        split, inner, boxes = _split(rows, extents)
        return of_boxes(split, inner).reshape(boxes)

    if prod(extents) == max(extents) <= _FEW:
        return in_boxes(weights)  # a member of each box at a time, which are pieces by themselves
    return by_rows(in_boxes, weights, multiple=extents[0])


def _split(weights: Tensor, extents: Sequence[int]) -> tuple[Tensor, list[int], list[int]]:
    """[a, b, ...] -> [a/m, m, b/n, n, ...], the axes inside boxes, and boxes along each stored axis.

    Short boxes are filled up with zeros. An extent of 1 gets no axis, for reducing over many axes is slow, even
    over empty ones; and an axis that lies in one box is not split, for Paddle knows 9 axes at most.
    """
    shape: list[int] = []
    inner: list[int] = []
    boxes: list[int] = []
    for axis, (length, extent) in enumerate(zip(list(weights.shape), extents)):
        boxes.append(-(-length // extent))
        if 1 < length <= extent:
            inner.append(len(shape))
            shape.append(length)
            continue
        short = -length % extent if length > 1 else 0
        if short:
            filling = list(weights.shape)
            filling[axis] = short
            weights = paddle.concat([weights, paddle.zeros(filling, weights.dtype)], axis=axis)
        shape.append(boxes[-1])
        if 1 < extent < length:
            inner.append(len(shape))
            shape.append(extent)
    return weights.reshape(shape), inner, boxes


def _norm(name: str, split: Tensor, inner: list[int]) -> Tensor:
    if not inner:
        return paddle.abs(split)
    if name == "max":
        return _joined(split, inner, paddle.abs, paddle.maximum, paddle.max)
    if name == "l1":
        return _joined(split, inner, paddle.abs, add_, paddle.sum)
    return paddle.sqrt(_joined(split, inner, lambda weights: weights * weights, add_, paddle.sum))


def _highest(split: Tensor, inner: list[int]) -> Tensor:
    return _joined(split, inner, lambda mask: mask, paddle.maximum, paddle.max) if inner else split


def _joined(
    split: Tensor,
    inner: list[int],
    of: Callable[[Tensor], Tensor],
    join: Callable[[Tensor, Tensor], Tensor],
    reduce_: Callable[..., Tensor],
) -> Tensor:
    """`of` each member of a box, joined: a few one by one, or else by a reduction."""
    if len(inner) > 1 or split.shape[inner[0]] > _FEW:
        return reduce_(of(split), axis=inner)
    return reduce(join, (of(member.contiguous()) for member in paddle.unbind(split, inner[0])))
