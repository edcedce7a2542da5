# SPDX-License-Identifier: Apache-2.0
"""Parts of an axis: slices, flips, splits."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from ..net import Layer
from ..reader import Reader, Symbol
from ..refusals import Refusal
from ..slots import inner_extent, led, replaced
from ..views import Axis, Extent, Size, View, axis_of, known, size_of
from .common import Converter, Made, extent_of, require, without

_END = 1 << 24  # beyond every size
_SPLIT = "an axis of open size is split"


def cut(reader: Reader, view: View, i: int, start: int, stop: int, step: int = 1) -> View:
    """view[start:stop:step] along axis i, as Python counts; step may be negative."""
    require(known(view.axes[i]) != 1 or (start, stop, step) == (0, 1, 1), "a slice of an axis of 1")
    view, slot, behind = led(reader, view, i)
    axis = view.axes[i]
    extent = known(axis)
    if extent is None:
        require(step > 0, "an axis of open size is read backwards")
        new = reader.grown(("slice", axis, start, stop, step))
    else:
        start, stop, step = slice(start, stop, step).indices(extent)
        if (start, stop, step) == (0, extent, 1):
            return view
        count = len(range(start, stop, step))
        require(count > 0, "a slice holds nothing")
        new = axis_of(count)
    inner = inner_extent(behind) if behind else 1
    if inner > 1 and step != 1:
        return cut(reader, reader.arranged(view, **_apart(view, axis)), i, start, stop, step)
    words: dict[str, int | str] = {"axis": slot, "start": start * inner, "step": step}
    if extent is None:
        words["stop"] = stop * inner if stop < _END else _END
    else:
        words["count"] = len(range(start, stop, step)) * inner
    return replaced(view.of(Layer("slice", (view.layer,), words=words)), i, axis, new, slot)


def _apart(view: View, axis: Axis) -> dict[str, Axis]:
    """An order in which an axis is a slot of its own."""
    rest = [tuple(atom for atom in slot if atom not in axis) for slot in (view.channels, view.height, view.width)]
    if not rest[2]:
        return {"channels": rest[0], "height": rest[1], "width": axis}
    if not rest[1]:
        return {"channels": rest[0], "height": axis, "width": rest[2]}
    if any(atom.is_open for atom in (*rest[0], *rest[1])):
        raise Refusal("an axis with steps lies among others whose sizes are open")
    return {"channels": (*rest[0], *rest[1]), "height": axis, "width": rest[2]}


def chosen(reader: Reader, view: View, i: int, which: int) -> View:
    """view[which] along axis i, which goes."""
    if known(view.axes[i]) == 1:
        return without(view, i)
    stop = which + 1 if which != -1 else _END
    one = cut(reader, view, i, which, stop)
    one = one if known(one.axes[i]) == 1 else _single(one, i)
    return without(one, i)


def _single(view: View, i: int) -> View:
    """An axis of open size that is known to have one place left."""
    gone = {*view.axes[i]}

    def left(axis: Axis) -> Axis:
        return tuple(atom for atom in axis if atom not in gone)

    return View(view.layer, tuple(map(left, view.axes)), left(view.channels), left(view.height), left(view.width))


def whole(size: Size) -> int:
    """A size that is a number; an op whose slice ends at one that depends on the input is refused."""
    if isinstance(size, Extent):
        raise Refusal("a slice ends at a size that depends on the input")
    return size


def _slice(reader: Reader, op: Any) -> Made:
    attributes, view = op.attrs(), reader.view(op, 0)
    starts, ends = reader.sizes(op, 1), reader.sizes(op, 2)
    made = view
    for axis, start, end in zip(attributes["axes"], starts, ends):
        made = _sliced(reader, made, axis % view.rank, start, end, 1)
    gone = sorted((axis % view.rank for axis in attributes.get("decrease_axis", [])), reverse=True)
    for axis in gone:
        made = without(made if known(made.axes[axis]) == 1 else _single(made, axis), axis)
    return made


def _sliced(reader: Reader, view: View, axis: int, start: Size, end: Size, step: int) -> View:
    if end == size_of(view.axes[axis]) or (isinstance(end, int) and end >= np.iinfo(np.int32).max):
        end = _END
    start, end = whole(start), whole(end)
    if reader.batch in view.axes[axis]:
        require(start == 0 and end >= _END and step == 1, "samples of the batch are chosen")
        return view
    if (start == 0 and end >= _END and step == 1) or known(view.axes[axis]) == 1:
        return view
    made = cut(reader, view, axis, start, end, step)
    one = end - start == 1 or (start == -1 and end >= _END)
    return _single(made, axis) if one and known(made.axes[axis]) is None else made


def _strided_slice(reader: Reader, op: Any) -> Made:
    made = reader.view(op, 0)
    for axis, start, end, step in zip(op.attrs()["axes"], *(reader.sizes(op, i) for i in (1, 2, 3))):
        if whole(step) < 0 and isinstance(end, int) and end < -_END:
            before = -extent_of(made.axes[axis], "an axis of open size is read backwards") - 1
            made = cut(reader, made, axis, whole(start), before, whole(step))
        else:
            made = _sliced(reader, made, axis % made.rank, start, end, whole(step))
    return made


def _flip(reader: Reader, op: Any) -> Made:
    made = reader.view(op, 0)
    for axis in op.attrs()["axis"]:
        axis %= made.rank
        extent = extent_of(made.axes[axis], "an axis of open size is read backwards")
        made = cut(reader, made, axis, -1, -extent - 1, -1) if extent != 1 else made
    return made


def _parts(reader: Reader, view: View, axis: int, sections: Sequence[int]) -> tuple[Symbol, ...]:
    ends = np.cumsum(sections)
    return tuple(cut(reader, view, axis, int(end - count), int(end)) for end, count in zip(ends, sections))


def _split(reader: Reader, op: Any) -> Made:
    view, sections = reader.view(op, 0), [whole(size) for size in reader.sizes(op, 1)]
    axis = int(reader.constant(op, 2).ravel()[0]) % view.rank
    if -1 in sections:
        extent = extent_of(view.axes[axis], _SPLIT)
        sections[sections.index(-1)] = extent - sum(sections) - 1  # the sum counts the -1
    return _parts(reader, view, axis, sections)


def _split_with_num(reader: Reader, op: Any) -> Made:
    view = reader.view(op, 0)
    axis, count = int(reader.constant(op, 1).ravel()[0]) % view.rank, op.attrs()["num"]
    return _parts(reader, view, axis, [extent_of(view.axes[axis], _SPLIT) // count] * count)


def _unbind(reader: Reader, op: Any) -> Made:
    view = reader.view(op, 0)
    axis = op.attrs()["axis"] % view.rank
    return tuple(chosen(reader, view, axis, i) for i in range(extent_of(view.axes[axis], _SPLIT)))


OPS: dict[str, Converter] = {
    "slice": _slice,
    "strided_slice": _strided_slice,
    "flip": _flip,
    "split": _split,
    "split_with_num": _split_with_num,
    "unbind": _unbind,
    "unstack": _unbind,
}
