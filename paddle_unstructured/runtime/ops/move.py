# SPDX-License-Identifier: Apache-2.0
"""What moves numbers without computing: reshape, transpose, concat, split, slices, pads."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from ..meet import aligned, constant_layer
from ..net import Layer
from ..reader import Reader, Symbol
from ..refusals import Refusal
from ..resize import resized
from ..slots import inner_extent, led, replaced
from ..views import OPEN, Atom, Axis, Extent, Size, View, axis_of, known, size_of, spread_over
from .common import Converter, Made, either_order, require, shape_of

_END = 1 << 24  # beyond every size


# ---- free: only the names of axes change -----------------------------------------------------------------------------
def _reshape(reader: Reader, op: Any) -> Made:
    return reader.reshaped(reader.view(op, 0), reader.sizes(op, 1))


def _flatten(reader: Reader, op: Any) -> Made:
    view, attributes = reader.view(op, 0), op.attrs()
    first, last = attributes["start_axis"] % view.rank, attributes["stop_axis"] % view.rank
    return view.with_axes([*view.axes[:first], view.flat(range(first, last + 1)), *view.axes[last + 1 :]])


def _squeeze(reader: Reader, op: Any) -> Made:
    view = reader.view(op, 0)
    given = [int(axis) % view.rank for axis in reader.sizes(op, 1)]
    axes = given or [i for i, extent in enumerate(shape_of(op)) if extent == 1]
    gone = [i for i in axes if known(view.axes[i]) == 1]
    kept = [axis for i, axis in enumerate(view.axes) if i not in gone]
    lost = tuple(atom for i in gone for atom in view.axes[i])  # a batch of exactly one
    if lost:
        require(kept, "nothing is left but the batch")
        kept[0] = (*lost, *kept[0])
    return view.with_axes(kept)


def _unsqueeze(reader: Reader, op: Any) -> Made:
    view, axes = reader.view(op, 0), list(reader.view(op, 0).axes)
    for axis in reader.sizes(op, 1):
        axes.insert(int(axis) % (len(axes) + 1), ())
    return view.with_axes(axes)


def _transpose(reader: Reader, op: Any) -> Made:
    view = reader.view(op, 0)
    return view.transposed([axis % view.rank for axis in op.attrs()["perm"]])


def _pixel_shuffle(reader: Reader, op: Any) -> Made:
    """[n, C r r, h, w] -> [n, C, h r, w r]."""
    view, factor = reader.view(op, 0), op.attrs()["upscale_factor"]
    batch, channels, height, width = view.shape
    split = reader.reshaped(view, [batch, channels // factor**2, factor, factor, height, width])
    n, c, r, s, h, w = split.axes
    return split.with_axes([n, c, (*h, *r), (*w, *s)])


def _pixel_unshuffle(reader: Reader, op: Any) -> Made:
    """[n, C, h r, w r] -> [n, C r r, h, w]."""
    view, factor = reader.view(op, 0), op.attrs()["downscale_factor"]
    batch, channels, height, width = view.shape
    split = reader.reshaped(view, [batch, channels, height // factor, factor, width // factor, factor])
    n, c, h, r, w, s = split.axes
    return split.with_axes([n, (*c, *r, *s), h, w])


def _channel_shuffle(reader: Reader, op: Any) -> Made:
    view, groups = reader.view(op, 0), op.attrs()["groups"]
    batch, channels, height, width = view.shape
    split = reader.reshaped(view, [batch, groups, channels // groups, height, width])
    n, g, c, h, w = split.axes
    return split.with_axes([n, (*c, *g), h, w])


# ---- along one axis --------------------------------------------------------------------------------------------------
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
        return view.with_axes([axis for k, axis in enumerate(view.axes) if k != i])
    stop = which + 1 if which != -1 else _END
    one = cut(reader, view, i, which, stop)
    one = one if known(one.axes[i]) == 1 else _single(one, i)
    return one.with_axes([axis for k, axis in enumerate(one.axes) if k != i])


def _single(view: View, i: int) -> View:
    """An axis of open size that is known to have one place left."""
    gone = {*view.axes[i]}

    def left(axis: Axis) -> Axis:
        return tuple(atom for atom in axis if atom not in gone)

    return View(view.layer, tuple(map(left, view.axes)), left(view.channels), left(view.height), left(view.width))


def _whole(size: Size) -> int:
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
        made = made.with_axes([each for k, each in enumerate(_left_single(made, axis).axes) if k != axis])
    return made


def _left_single(view: View, axis: int) -> View:
    return view if known(view.axes[axis]) == 1 else _single(view, axis)


def _sliced(reader: Reader, view: View, axis: int, start: Size, end: Size, step: int) -> View:
    if end == size_of(view.axes[axis]) or (isinstance(end, int) and end >= np.iinfo(np.int32).max):
        end = _END
    start, end = _whole(start), _whole(end)
    if reader.batch in view.axes[axis]:
        require(start == 0 and end >= _END and step == 1, "samples of the batch are chosen")
        return view
    if start == 0 and end >= _END and step == 1:
        return view
    if known(view.axes[axis]) == 1:
        return view
    made = cut(reader, view, axis, start, end, step)
    if known(made.axes[axis]) is None and ((end - start == 1 and start >= 0) or (start == -1 and end >= _END)):
        made = _single(made, axis)
    elif known(made.axes[axis]) is None and start < 0 and end - start == 1:
        made = _single(made, axis)
    return made


def _strided_slice(reader: Reader, op: Any) -> Made:
    made = reader.view(op, 0)
    for axis, *ends in zip(op.attrs()["axes"], *(reader.sizes(op, i) for i in (1, 2, 3))):
        start, end, step = ends
        if _whole(step) < 0 and isinstance(end, int) and end < -_END:
            extent = known(made.axes[axis])
            require(extent is not None, "an axis of open size is read backwards")
            made = cut(reader, made, axis, _whole(start), -(extent or 0) - 1, _whole(step))
        else:
            made = _sliced(reader, made, axis % made.rank, start, end, _whole(step))
    return made


def _flip(reader: Reader, op: Any) -> Made:
    made = reader.view(op, 0)
    for axis in op.attrs()["axis"]:
        axis %= made.rank
        extent = known(made.axes[axis])
        require(extent is not None, "an axis of open size is read backwards")
        made = cut(reader, made, axis, -1, -(extent or 0) - 1, -1) if extent != 1 else made
    return made


def _parts(reader: Reader, view: View, axis: int, sections: Sequence[int]) -> tuple[Symbol, ...]:
    ends = np.cumsum(sections)
    return tuple(cut(reader, view, axis, int(end - count), int(end)) for end, count in zip(ends, sections))


def _split(reader: Reader, op: Any) -> Made:
    view, sections = reader.view(op, 0), [_whole(size) for size in reader.sizes(op, 1)]
    axis = int(reader.constant(op, 2).ravel()[0]) % view.rank
    if -1 in sections:
        extent = known(view.axes[axis])
        require(extent is not None, "an axis of open size is split")
        sections[sections.index(-1)] = (extent or 0) - sum(sections) - 1
    return _parts(reader, view, axis, sections)


def _split_with_num(reader: Reader, op: Any) -> Made:
    view = reader.view(op, 0)
    axis, count = int(reader.constant(op, 1).ravel()[0]) % view.rank, op.attrs()["num"]
    extent = known(view.axes[axis])
    require(extent is not None, "an axis of open size is split")
    return _parts(reader, view, axis, [(extent or 0) // count] * count)


def _unbind(reader: Reader, op: Any) -> Made:
    view = reader.view(op, 0)
    axis = op.attrs()["axis"] % view.rank
    extent = known(view.axes[axis])
    require(extent is not None, "an axis of open size is split")
    return tuple(chosen(reader, view, axis, i) for i in range(extent or 0))


def joined(reader: Reader, views: Sequence[View], i: int) -> View:
    """Some views side by side along axis i."""
    if len(views) == 1:
        return views[0]
    views = aligned(views, but=i)
    model = next((view for view in views if view.axes[i]), views[0])
    return _joined(reader, views, led(reader, model, i), i)


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
    slots = {name: getattr(like, name) for name in ("channels", "height", "width")}
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
        for part in (found if isinstance(found, tuple) else (found,))
    ]
    return joined(reader, _as_views(reader, parts, axis), axis)


def _as_views(reader: Reader, parts: Sequence[Any], axis: int) -> list[View]:
    """Activations as they are; constants, a class token say, as layers that make them for every sample."""
    model = next(part for part in parts if isinstance(part, View))
    return [part if isinstance(part, View) else _constant(model, part, axis) for part in parts]


def _constant(model: View, constant: np.ndarray, axis: int) -> View:
    """A constant under the axes of an activation, of which it differs in one; its first axis is repeated."""
    require(constant.ndim == model.rank and constant.dtype != object, "a constant of another rank is joined")
    own = axis_of(constant.shape[axis])
    axes = [own if k == axis else each for k, each in enumerate(model.axes)]
    slots = {}
    for name in ("channels", "height", "width"):
        slot = tuple(atom for atom in getattr(model, name) if atom not in model.axes[axis])
        slots[name] = slot
    home = next((n for n in slots if {*getattr(model, n)} & {*model.axes[axis]}), "channels")
    slots[home] = (*own, *slots[home])
    view = View(model.layer, tuple(axes), **slots)
    over = tuple(atom for slot in slots.values() for atom in slot)
    require(not any(atom.is_open for atom in over), "a constant is joined with an activation of open size")
    flat = spread_over(constant, view, over)
    require(flat is not None, "a constant is joined that does not fit")
    return view.of(constant_layer(np.asarray(flat), [int(np.prod([a.extent for a in s])) for s in slots.values()]))


def _roll(reader: Reader, op: Any) -> Made:
    made, attributes = reader.view(op, 0), op.attrs()
    require(attributes["axis"], "all axes are rolled as one")
    for shift, axis in zip(reader.sizes(op, 1), attributes["axis"]):
        i = axis % made.rank
        extent = known(made.axes[i])
        require(reader.batch not in made.axes[i] and extent is not None, "an axis of open size is rolled")
        start = -_whole(shift) % (extent or 1)
        if start:
            own = made.axes[i]
            parts = [cut(reader, made, i, start, extent or 0), cut(reader, made, i, 0, start)]
            made = _named(joined(reader, parts, i), i, own)
    return made


def _named(view: View, i: int, axis: Axis) -> View:
    """The same with the atoms that an axis had before it was cut and joined, so that others meet it without a move."""
    old = view.axes[i]
    if len(old) == 1 and len(axis) > 1:
        return view.split({old[0]: axis})
    return view.split(dict(zip(old, ((atom,) for atom in axis)))) if len(old) == len(axis) else view


def _repeat(reader: Reader, view: View, i: int, times: int) -> View:
    if times == 1:
        return view
    new = Atom(times)
    view = reader.repeated(view, (new,))
    return view.with_axes([(new, *axis) if k == i else axis for k, axis in enumerate(view.axes)])


def _repeat_interleave(reader: Reader, op: Any) -> Made:
    view, times = reader.view(op, 0), int(op.attrs()["repeats"])
    i = op.attrs()["axis"] % view.rank
    require(reader.batch not in view.axes[i], "samples of the batch are repeated")
    if times == 1:
        return view
    new = Atom(times)
    view = reader.repeated(view, (new,))
    return view.with_axes([(*axis, new) if k == i else axis for k, axis in enumerate(view.axes)])


def _expand(reader: Reader, op: Any) -> Made:
    view, target = reader.view(op, 0), reader.sizes(op, 1)
    require(len(target) == view.rank, "an activation gets more axes by being repeated")
    return expanded(reader, view, target)


def expanded(reader: Reader, view: View, target: Sequence[Size]) -> View:
    """A view whose axes of 1 are repeated to sizes."""
    if view.rank == 4 and not view.pixels and any(size not in (1, -1) for size in target[2:]):
        sizes = [1 if size == -1 else size for size in target[2:]]
        words: dict[str, int | str] = {"mode": "nearest", "align_corners": 0, "half_pixel": 0}
        view = resized(reader, reader.planes(view), words, sizes, None)
        target = [*target[:2], -1, -1]
    if view.rank == 3 and not view.pixels and isinstance(target[2], Extent):
        row = view.with_axes([*view.axes[:2], (), view.axes[2]])
        return _without(expanded(reader, row, [*target[:2], 1, target[2]]), 2)
    for i, size in enumerate(target):
        if known(view.axes[i]) == 1 and reader.batch not in view.axes[i] and size not in (1, -1):
            view = _repeat(reader, view, i, _whole(size))
    return view


def _without(view: View, i: int) -> View:
    return view.with_axes([axis for k, axis in enumerate(view.axes) if k != i])


def _expand_as(reader: Reader, op: Any) -> Made:
    view, like = reader.view(op, 0), reader.operand(op, 1) if len(op.operands_source()) > 1 else None
    target = like.shape if isinstance(like, View) else list(op.attrs()["target_shape"])
    require(len(target) == view.rank, "an activation gets more axes by being repeated")
    return expanded(reader, view, target)


def _gather(reader: Reader, op: Any) -> Made:
    view, places = reader.view(op, 0), [int(each) for each in np.ravel(reader.constant(op, 1))]
    i = int(np.ravel(reader.constant(op, 2))[0]) if len(op.operands_source()) > 2 else int(op.attrs()["axis"])
    return gathered(reader, view, i % view.rank, places)


def gathered(reader: Reader, view: View, i: int, places: Sequence[int]) -> View:
    """The places of an axis, in an order that is known: runs of them are cut out and joined."""
    extent = known(view.axes[i])
    require(extent is not None, "places of an axis of open size are chosen")
    places = [place % (extent or 1) for place in places]
    starts = [k for k in range(len(places)) if k == 0 or places[k] != places[k - 1] + 1]
    require(0 < len(starts) <= 64, "too many places are chosen one by one")
    runs = [(places[start], stop - start) for start, stop in zip(starts, [*starts[1:], len(places)])]
    return joined(reader, [cut(reader, view, i, first, first + count) for first, count in runs], i)


def _tile(reader: Reader, op: Any) -> Made:
    view, given = reader.view(op, 0), reader.sizes(op, 1)
    require(len(given) <= view.rank, "an activation gets more axes by being repeated")
    given = [*[1] * (view.rank - len(given)), *given]
    if any(isinstance(count, Extent) for count in given):
        ones = all(count == 1 or known(axis) == 1 for count, axis in zip(given, view.axes))
        require(ones, "numbers are repeated as often as the input's size says")
        return expanded(reader, view, [-1 if count == 1 else count for count in given])
    for i, count in enumerate(map(_whole, given)):
        require(count == 1 or reader.batch not in view.axes[i], "samples of the batch are repeated")
        view = _repeat(reader, view, i, count)
    return view


OPS: dict[str, Converter] = {
    "reshape": _reshape,
    "flatten": _flatten,
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
    "transpose": _transpose,
    "pixel_shuffle": either_order(_pixel_shuffle),
    "pixel_unshuffle": either_order(_pixel_unshuffle),
    "channel_shuffle": either_order(_channel_shuffle),
    "slice": _slice,
    "strided_slice": _strided_slice,
    "flip": _flip,
    "split": _split,
    "split_with_num": _split_with_num,
    "unbind": _unbind,
    "unstack": _unbind,
    "concat": _concat,
    "stack": _stack,
    "roll": _roll,
    "expand": _expand,
    "expand_as": _expand_as,
    "gather": _gather,
    "index_select": _gather,
    "tile": _tile,
    "repeat_interleave": _repeat_interleave,
}
OPS.update({f"{kind}_": OPS[kind] for kind in ("reshape", "flatten", "squeeze", "unsqueeze")})
