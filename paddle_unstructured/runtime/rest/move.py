# SPDX-License-Identifier: Apache-2.0
"""Ops that move numbers, as ONNX nodes."""

from __future__ import annotations

import numpy as np

from .builder import Builder, Converter, Op, known_axes, number, out, with_lists, word


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
    sizes = b.numbers(op, 1) if len(op["I"]) == 3 else None
    inputs = [b.names(op)[0], *([b.constant(sizes)] if sizes and min(sizes) >= 0 else [])]
    if sizes and min(sizes) < 0:
        raise ValueError("one of its sizes is -1")
    b.lists[value] = b.node("Split", inputs, count, axis=axis)


def _slice(b: Builder, op: Op) -> None:
    axes, x = word(op, "axes"), b.names(op)[0]
    bounds = [b.node("Cast", [name], to=number("int64"))[0] for name in b.names(op)[1:3]]
    dropped = word(op, "decrease_axis", [])
    made = b.node("Slice", [x, *bounds, b.constant(axes)], 1 if dropped else out(op))
    if dropped:
        b.node("Squeeze", [*made, b.constant(dropped)], out(op))


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
    x, shape = b.names(op)[:2]
    whole = b.node("Cast", [shape], to=number("int64"))[0]
    kept = b.node("Equal", [whole, b.constant([-1])])[0]
    b.node("Expand", [x, *b.node("Where", [kept, b.constant([1]), whole])], out(op))


def _expand_as(b: Builder, op: Op) -> None:
    x, *like = b.names(op)
    shape = b.node("Shape", like[:1])[0] if like else b.constant(word(op, "target_shape"))
    b.node("Expand", [x, shape], out(op))


def _triangle(upper: int) -> Converter:
    return lambda b, op: b.node("Trilu", [*b.names(op), b.constant(word(op, "diagonal", 0))], out(op), upper=upper)


CONVERTERS: dict[str, Converter] = {
    "transpose": _transpose,
    "reshape": with_lists("Reshape", 2),
    "squeeze": _squeeze("Squeeze"),
    "unsqueeze": _squeeze("Unsqueeze"),
    "flatten": _flatten,
    "concat": _concat,
    "stack": _stack,
    "split": _split,
    "split_with_num": _split,
    "slice": _slice,
    "unbind": _unbind,
    "roll": _roll,
    "flip": _flip,
    "expand": _expand,
    "expand_as": _expand_as,
    "tile": with_lists("Tile", 2),
    "triu": _triangle(1),
    "tril": _triangle(0),
}
