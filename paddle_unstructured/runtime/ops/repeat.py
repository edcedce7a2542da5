# SPDX-License-Identifier: Apache-2.0
"""Axes that are repeated: expand, tile, repeat_interleave."""

from __future__ import annotations

from typing import Any, Sequence

from ..meet import meet_views
from ..net import Layer
from ..reader import Reader
from ..refusals import Refusal
from ..resize import resized
from ..views import Atom, Extent, Size, View, known, size_of
from .common import Converter, Made, require, without
from .cut import chosen, whole


def _repeat(reader: Reader, view: View, i: int, times: int, *, each: bool = False) -> View:
    """Axis i so many times over: the whole of it, or each place of it."""
    if times == 1:
        return view
    new = Atom(times)
    view = reader.repeated(view, (new,))
    longer = (*view.axes[i], new) if each else (new, *view.axes[i])
    return view.with_axes([longer if k == i else axis for k, axis in enumerate(view.axes)])


def _repeat_interleave(reader: Reader, op: Any) -> Made:
    view = reader.view(op, 0)
    i = op.attrs()["axis"] % view.rank
    require(reader.batch not in view.axes[i], "samples of the batch are repeated")
    return _repeat(reader, view, i, int(op.attrs()["repeats"]), each=True)


def _expand(reader: Reader, op: Any) -> Made:
    view, target = reader.view(op, 0), reader.sizes(op, 1)
    require(len(target) == view.rank, "an activation gets more axes by being repeated")
    return expanded(reader, view, target)


def expanded(reader: Reader, view: View, target: Sequence[Size]) -> View:
    """A view whose axes of 1 are repeated to sizes; -1 for those that stay."""
    if view.rank == 4 and not view.pixels and any(size not in (1, -1) for size in target[2:]):
        sizes = [1 if size == -1 else size for size in target[2:]]
        words: dict[str, int | str] = {"mode": "nearest", "align_corners": 0, "half_pixel": 0}
        view = resized(reader, reader.planes(view), words, sizes, None)
        target = [*target[:2], -1, -1]
    if view.rank == 3 and not view.pixels and isinstance(target[2], Extent):
        row = view.with_axes([*view.axes[:2], (), view.axes[2]])
        return without(expanded(reader, row, [*target[:2], 1, target[2]]), 2)
    for i, size in enumerate(target):
        if known(view.axes[i]) == 1 and reader.batch not in view.axes[i] and size not in (1, -1):
            open_one = isinstance(size, Extent)
            view = _as_long_as_others(reader, view, i, size) if open_one else _repeat(reader, view, i, whole(size))
    return view


def _as_long_as_others(reader: Reader, view: View, i: int, size: Size) -> View:
    """A view whose axis i of 1 gets an open size, which is that of another activation's axis."""
    for other in reader.sized(size):
        for k, axis in enumerate(other.axes):
            if size_of(axis) == size and reader.batch not in axis:
                try:
                    one, like, made, _ = meet_views(reader, view, _along(reader, other, k, i, view.rank))
                except Refusal:
                    continue  # it lies so that its axis cannot be had alone
                return made.of(Layer("expand", (one, like)))
    raise Refusal("numbers are repeated as often as the input's size says")


def _along(reader: Reader, view: View, k: int, i: int, rank: int) -> View:
    """The first places of a view along all axes but that of the samples and k, which becomes axis i of so many."""
    one = view
    for at in reversed(range(view.rank)):
        if at != k and reader.batch not in view.axes[at]:
            one = chosen(reader, one, at, 0)
    [samples, *axis] = one.axes if k else (*one.axes[1:], one.axes[0])
    require(samples == (reader.batch,) and len(axis) == 1, "samples lie among other axes")
    return one.with_axes([samples, *[axis[0] if at == i else () for at in range(1, rank)]])


def _expand_as(reader: Reader, op: Any) -> Made:
    view, like = reader.view(op, 0), reader.operand(op, 1) if len(op.operands_source()) > 1 else None
    target = like.shape if isinstance(like, View) else list(op.attrs()["target_shape"])
    require(len(target) == view.rank, "an activation gets more axes by being repeated")
    return expanded(reader, view, target)


def _tile(reader: Reader, op: Any) -> Made:
    view, given = reader.view(op, 0), reader.sizes(op, 1)
    require(len(given) <= view.rank, "an activation gets more axes by being repeated")
    given = [*[1] * (view.rank - len(given)), *given]
    if any(isinstance(count, Extent) for count in given):
        ones = all(count == 1 or known(axis) == 1 for count, axis in zip(given, view.axes))
        require(ones, "numbers are repeated as often as the input's size says")
        return expanded(reader, view, [-1 if count == 1 else count for count in given])
    for i, count in enumerate(map(whole, given)):
        require(count == 1 or reader.batch not in view.axes[i], "samples of the batch are repeated")
        view = _repeat(reader, view, i, count)
    return view


OPS: dict[str, Converter] = {
    "expand": _expand,
    "expand_as": _expand_as,
    "tile": _tile,
    "repeat_interleave": _repeat_interleave,
}
