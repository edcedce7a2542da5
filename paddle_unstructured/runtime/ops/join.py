# SPDX-License-Identifier: Apache-2.0
"""Activations side by side along an axis: concat and stack, and what cuts an axis and joins it in another order."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from ..meet import aligned, constant_layer, with_own_axes
from ..net import Layer
from ..reader import Reader
from ..slots import SLOTS, led, replaced
from ..views import OPEN, Axis, Prefix, Size, View, axis_of, known, size_of, spread_over
from .common import Converter, Made, extent_of, require
from .cut import cut, whole
from .repeat import expanded


def joined(reader: Reader, views: Sequence[View], i: int) -> View:
    """Some views side by side along axis i."""
    if len(views) == 1:
        return views[0]
    views = aligned(_as_long(reader, views, i), but=i)
    model = next((view for view in views if view.axes[i]), views[0])
    return _joined(reader, views, led(reader, model, i), i)


def _as_long(reader: Reader, views: Sequence[View], i: int) -> list[View]:
    """The same, repeated along axes but i where others are longer: what is the same everywhere is 1 till then."""
    made = list(views)
    for k, view in enumerate(views):
        longest: list[Size] = [-1] * view.rank
        for other in views:
            for j in range(1, view.rank):
                if j != i and known(view.axes[j]) == 1 and known(other.axes[j]) != 1:
                    longest[j] = size_of(other.axes[j])
        made[k] = expanded(reader, view, longest)
    return made


def _joined(reader: Reader, views: Sequence[View], model: tuple[View, str, Axis], i: int) -> View:
    like, slot, behind = model
    sizes = [known(view.axes[i]) for view in views]
    total = OPEN if None in sizes else sum(size or 0 for size in sizes)
    new = axis_of(total) if total != OPEN else reader.grown(("concat", *(view.axes[i] for view in views)))
    if slot == "pixels" and behind:
        like = reader.arranged(like, channels=like.channels, height=(*like.axes[i], *behind), width=())
        slot = "height"
    arranged = [_like(reader, view, like, slot, behind, i) for view in views]
    layer = Layer("concat", tuple(view.layer for view in arranged), words={"axis": slot} if slot != "channels" else {})
    return replaced(like.of(layer), i, like.axes[i], new, slot)


def _like(reader: Reader, view: View, like: View, slot: str, behind: Axis, i: int) -> View:
    axis = view.axes[i]
    if slot == "pixels":
        return reader.arranged(view, channels=like.channels, pixels=axis)
    slots = {name: getattr(like, name) for name in SLOTS}
    slots[slot] = (*axis, *behind)
    return reader.arranged(view, **slots)


def _concat(reader: Reader, op: Any) -> Made:
    found, axis = reader.operand(op, 0), int(reader.constant(op, 1).ravel()[0])
    parts = found if isinstance(found, tuple) else (found,)
    rank = len(op.result(0).shape)
    return joined(reader, _as_views(reader, parts, axis % rank), axis % rank)


def _stack(reader: Reader, op: Any) -> Made:
    found, axis = reader.operand(op, 0), op.attrs()["axis"] % len(op.result(0).shape)
    parts = [
        np.expand_dims(part, axis)
        if isinstance(part, np.ndarray)
        else part.with_axes([*part.axes[:axis], (), *part.axes[axis:]])
        if isinstance(part, View)
        else part
        for part in (found if isinstance(found, tuple) else (found,))
    ]
    return joined(reader, _as_views(reader, parts, axis), axis)


def _as_views(reader: Reader, parts: Sequence[Any], axis: int) -> list[View]:
    """Activations as they are; constants, a class token say, as layers that make them for every sample."""
    require(not any(isinstance(part, Prefix) for part in parts), "places of an open size are joined with an activation")
    model = next(part for part in parts if isinstance(part, View))
    return [part if isinstance(part, View) else _constant(model, part, axis) for part in parts]


def _constant(model: View, constant: np.ndarray, axis: int) -> View:
    """A constant under the axes of an activation, of which it differs in one; its first axis is repeated."""
    require(constant.ndim == model.rank and constant.dtype != object, "a constant of another rank is joined")
    own = axis_of(constant.shape[axis])
    axes = [own if k == axis else each for k, each in enumerate(model.axes)]
    slots = {name: tuple(atom for atom in getattr(model, name) if atom not in model.axes[axis]) for name in SLOTS}
    home = next((n for n in slots if {*getattr(model, n)} & {*model.axes[axis]}), "channels")
    slots[home] = (*own, *slots[home])
    view = View(model.layer, tuple(axes), **slots)
    over = tuple(atom for slot in slots.values() for atom in slot)
    if any(atom.is_open for atom in over):
        return with_own_axes(constant)
    flat = spread_over(constant, view, over)
    require(flat is not None, "a constant is joined that does not fit")
    return view.of(constant_layer(np.asarray(flat), [int(np.prod([a.extent for a in s])) for s in slots.values()]))


def _roll(reader: Reader, op: Any) -> Made:
    made, attributes = reader.view(op, 0), op.attrs()
    require(attributes["axis"], "all axes are rolled as one")
    for shift, axis in zip(reader.sizes(op, 1), attributes["axis"]):
        i = axis % made.rank
        extent = extent_of(made.axes[i], "an axis of open size is rolled")
        start = -whole(shift) % extent
        if start:
            own = made.axes[i]
            parts = [cut(reader, made, i, start, extent), cut(reader, made, i, 0, start)]
            made = _named(joined(reader, parts, i), i, own)
    return made


def _named(view: View, i: int, axis: Axis) -> View:
    """The same with the atoms that an axis had before it was cut and joined, so that others meet it without a move."""
    old = view.axes[i]
    if len(old) == 1 and len(axis) > 1:
        return view.split({old[0]: axis})
    return view.split(dict(zip(old, ((atom,) for atom in axis)))) if len(old) == len(axis) else view


def _gather(reader: Reader, op: Any) -> Made:
    view, places = reader.view(op, 0), [int(each) for each in np.ravel(reader.constant(op, 1))]
    i = int(np.ravel(reader.constant(op, 2))[0]) if len(op.operands_source()) > 2 else int(op.attrs()["axis"])
    return gathered(reader, view, i % view.rank, places)


def gathered(reader: Reader, view: View, i: int, places: Sequence[int]) -> View:
    """The places of an axis, in an order that is known: runs of them are cut out and joined."""
    extent = extent_of(view.axes[i], "places of an axis of open size are chosen")
    places = [place % extent for place in places]
    starts = [k for k in range(len(places)) if k == 0 or places[k] != places[k - 1] + 1]
    require(0 < len(starts) <= 64, "too many places are chosen one by one")
    runs = [(places[start], stop - start) for start, stop in zip(starts, [*starts[1:], len(places)])]
    return joined(reader, [cut(reader, view, i, first, first + count) for first, count in runs], i)


OPS: dict[str, Converter] = {
    "concat": _concat,
    "stack": _stack,
    "roll": _roll,
    "gather": _gather,
    "index_select": _gather,
}
