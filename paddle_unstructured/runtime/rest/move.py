# SPDX-License-Identifier: Apache-2.0
"""Ops that move numbers, as ONNX nodes."""

from __future__ import annotations

import numpy as np

from .builder import Builder, Converter, Op, channels_first, known_axes, list_of, out, with_list, word


def _transpose(b: Builder, op: Op) -> None:
    b.node("Transpose", b.names(op), out(op), perm=word(op, "perm"))


def _squeeze(kind: str) -> Converter:
    return lambda b, op: b.node(kind, [b.names(op)[0], b.constant(known_axes(b, op, 1))], out(op))


def _flatten(b: Builder, op: Op) -> None:
    rank = b.rank(op["I"][0]["%"])
    first, last = word(op, "start_axis") % rank, word(op, "stop_axis") % rank
    shape = b.node("Shape", b.names(op)[:1])[0]
    ends = [
        b.node("Slice", [shape, b.constant([low]), b.constant([high])])[0]
        for low, high in ((0, first), (last + 1, rank))
    ]
    target = b.node("Concat", [ends[0], b.constant([-1]), ends[1]], axis=0)
    b.node("Reshape", [b.names(op)[0], *target], out(op))


def _concat(b: Builder, op: Op) -> None:
    parts = b.lists[op["I"][0]["%"]]
    axis = known_axes(b, op, 1)[0]
    b.node("Concat", parts, out(op), axis=axis)


def _stack(b: Builder, op: Op) -> None:
    axis = word(op, "axis")
    parts = [b.node("Unsqueeze", [part, b.constant([axis])])[0] for part in b.lists[op["I"][0]["%"]]]
    b.node("Concat", parts, out(op), axis=axis)


def _split(b: Builder, op: Op) -> None:
    value = op["O"][0]["%"]
    count = len(b.types[value]["D"])
    axis = known_axes(b, op, len(op["I"]) - 1)[0]
    sizes = known_axes(b, op, 1) if len(op["I"]) == 3 else None
    inputs = b.names(op)[:1]
    if sizes is not None:
        whole = b.shape(op["I"][0]["%"])[axis]
        if min(sizes) < 0 and whole < 0:
            raise ValueError("one of its sizes is -1, of an axis of open size")
        inputs.append(b.constant([whole - sum(sizes) - 1 if size < 0 else size for size in sizes]))
    b.lists[value] = b.node("Split", inputs, count, axis=axis)


def _slice(b: Builder, op: Op) -> None:
    axes, x = word(op, "axes"), b.names(op)[0]
    bounds = [list_of(b, op, i) for i in (1, 2)]
    dropped = word(op, "decrease_axis", [])
    made = b.node("Slice", [x, *bounds, b.constant(axes)], 1 if dropped else out(op))
    if dropped:
        b.node("Squeeze", [*made, b.constant(dropped)], out(op))


def _strided_slice(b: Builder, op: Op) -> None:
    starts, ends, steps = (list_of(b, op, i) for i in (1, 2, 3))
    b.node("Slice", [b.names(op)[0], starts, ends, b.constant(word(op, "axes")), steps], out(op))


def _unbind(b: Builder, op: Op) -> None:
    value, axis = op["O"][0]["%"], word(op, "axis", 0)
    parts = b.node("Split", b.names(op)[:1], len(b.types[value]["D"]), axis=axis)
    b.lists[value] = [b.node("Squeeze", [part, b.constant([axis])])[0] for part in parts]


def _roll(b: Builder, op: Op) -> None:
    x, axes, shifts = b.names(op)[0], word(op, "axis", []), b.numbers(op, 1)
    if not axes or shifts is None:
        raise ValueError("all axes are rolled as one, or as far as the input says")
    for axis, shift in zip(axes, shifts):
        ends = [b.constant([-shift]), b.constant([np.iinfo(np.int64).max]), b.constant([0])]
        parts = [b.node("Slice", [x, low, high, b.constant([axis])])[0] for low, high in (ends[:2], (ends[2], ends[0]))]
        x = b.node("Concat", parts, axis=axis)[0]
    b.node("Identity", [x], out(op))


def _flip(b: Builder, op: Op) -> None:
    axes = word(op, "axis")
    least = np.iinfo(np.int64).min + 1
    ends = ([-1] * len(axes), [least] * len(axes), axes, [-1] * len(axes))
    b.node("Slice", [b.names(op)[0], *map(b.constant, ends)], out(op))


def _expand(b: Builder, op: Op) -> None:
    """Sizes of -1, which stay what they are, are 1 in ONNX."""
    x = b.name(op["I"][0]["%"])
    whole = list_of(b, op, 1)
    kept = b.node("Equal", [whole, b.constant([-1])])[0]
    b.node("Expand", [x, *b.node("Where", [kept, b.constant([1]), whole])], out(op))


def _expand_as(b: Builder, op: Op) -> None:
    x, *like = b.names(op)
    shape = b.node("Shape", like[:1])[0] if like else b.constant(word(op, "target_shape"))
    b.node("Expand", [x, shape], out(op))


def _repeat(b: Builder, op: Op) -> None:
    """Each place of an axis so many times in a row."""
    x, rank, times = b.names(op)[0], b.rank(op["I"][0]["%"]), word(op, "repeats")
    axis = word(op, "axis", word(op, "dim")) % rank
    apart = b.node("Unsqueeze", [x, b.constant([axis + 1])])[0]
    tiled = b.node("Tile", [apart, b.constant([times if i == axis + 1 else 1 for i in range(rank + 1)])])
    longer = b.node("Mul", [b.dims(x, axis, axis + 1), b.constant([times])])[0]
    parts = [b.dims(x, 0, axis), longer, b.dims(x, axis + 1, rank)]
    b.node("Reshape", [*tiled, *b.node("Concat", parts, axis=0)], out(op))


def _temporal_shift(b: Builder, op: Op) -> None:
    """Of [n * frames, c, h, w] the first channels come from the frame before, the next from the one behind."""
    channels_first(op)
    x, frames, channels = b.names(op)[0], word(op, "seg_num"), b.shape(op["I"][0]["%"])[1]
    cut, end = int(channels * word(op, "shift_ratio")), int(channels * 2 * word(op, "shift_ratio"))
    plane = b.dims(x, 2, 4)
    whole = b.node("Reshape", [x, *b.node("Concat", [b.constant([-1, frames, channels]), plane], axis=0)])[0]
    zero, two = b.constant(0, b.dtype(op["I"][0]["%"])), b.constant([2])
    parts = []
    for low, high, before, behind in ((0, cut, 1, 0), (cut, end, 0, 1), (end, channels, 0, 0)):
        if low < high:
            some = b.node("Slice", [whole, b.constant([low]), b.constant([high]), two])[0]
            pads = [0, before - behind, 0, 0, 0, 0, behind - before, 0, 0, 0]
            parts += b.node("Pad", [some, b.constant(pads), zero]) if before or behind else [some]
    b.node("Reshape", [*b.node("Concat", parts, axis=2), b.dims(x, 0, 4)], out(op))


def _diagonal(b: Builder, op: Op) -> None:
    """Of two axes, which come last."""
    shape, offset = b.shape(op["I"][0]["%"]), word(op, "offset")
    rank, axes = len(shape), [word(op, name) % len(shape) for name in ("axis1", "axis2")]
    rows, columns = (shape[axis] for axis in axes)
    if min(rows, columns) < 0:
        raise ValueError("one of an open size")
    order = [i for i in range(rank) if i not in axes] + axes
    lead = b.dims(b.node("Transpose", b.names(op), perm=order)[0], 0, rank - 2)
    last = b.node("Concat", [lead, b.constant([rows * columns])], axis=0)
    flat = b.node("Reshape", [*b.node("Transpose", b.names(op), perm=order), *last])
    places = [i * columns + i + offset for i in range(rows) if 0 <= i + offset < columns]
    b.node("Gather", [*flat, b.constant(places)], out(op), axis=-1)


def _diag_embed(b: Builder, op: Op) -> None:
    shape = b.shape(op["I"][0]["%"])
    rank, extent = len(shape), shape[-1]
    if word(op, "offset") or extent < 0 or [word(op, n) % (rank + 1) for n in ("dim1", "dim2")] != [rank - 1, rank]:
        raise ValueError("one beside the diagonal, of other axes than the last, or of an open size")
    each = b.node("Unsqueeze", [b.names(op)[0], b.constant([-1])])
    b.node("Mul", [*each, b.constant(np.eye(extent), b.dtype(op["I"][0]["%"]))], out(op))


def _triangle(upper: int) -> Converter:
    return lambda b, op: b.node("Trilu", [*b.names(op), b.constant(word(op, "diagonal", 0))], out(op), upper=upper)


CONVERTERS: dict[str, Converter] = {
    "transpose": _transpose,
    "reshape": with_list("Reshape"),
    "squeeze": _squeeze("Squeeze"),
    "unsqueeze": _squeeze("Unsqueeze"),
    "flatten": _flatten,
    "concat": _concat,
    "stack": _stack,
    "split": _split,
    "split_with_num": _split,
    "slice": _slice,
    "strided_slice": _strided_slice,
    "unstack": _unbind,
    "repeat_interleave": _repeat,
    "temporal_shift": _temporal_shift,
    "diagonal": _diagonal,
    "diag_embed": _diag_embed,
    "unbind": _unbind,
    "roll": _roll,
    "flip": _flip,
    "expand": _expand,
    "expand_as": _expand_as,
    "tile": with_list("Tile"),
    "triu": _triangle(1),
    "tril": _triangle(0),
}
