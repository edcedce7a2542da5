# SPDX-License-Identifier: Apache-2.0
"""Ops that go over axes, as ONNX nodes."""

from __future__ import annotations

from typing import Any

from .builder import Builder, Converter, Op, known_axes, number, out, word

_REDUCED = {
    "mean": "ReduceMean",
    "max": "ReduceMax",
    "min": "ReduceMin",
    "amax": "ReduceMax",
    "amin": "ReduceMin",
    "prod": "ReduceProd",
    "sum": "ReduceSum",
    "logsumexp": "ReduceLogSumExp",
}


def _reduced(kind: str) -> Converter:
    def convert(b: Builder, op: Op) -> None:
        axes = known_axes(b, op, 1) if len(op["I"]) > 1 else word(op, "axis", [])
        axes = [] if word(op, "reduce_all") else axes
        words: dict[str, Any] = {"keepdims": int(bool(word(op, "keepdim", False)))}
        inputs = [b.cast(b.names(op)[0], b.dtype(op["O"][0]["%"]))]  # truths are counted
        if kind == "ReduceSum":
            inputs += [b.constant(axes)] if axes else []
        elif axes:
            words["axes"] = axes
        b.node(kind, inputs, out(op), **words)

    return convert


def _truth(kind: str) -> Converter:
    def convert(b: Builder, op: Op) -> None:
        whole = b.node("Cast", b.names(op)[:1], to=number("int32"))
        axes = word(op, "axis", [])
        words: dict[str, Any] = {"axes": axes} if axes else {}
        found = b.node(kind, whole, keepdims=int(bool(word(op, "keepdim", False))), **words)
        b.node("Cast", found, out(op), to=number("bool"))

    return convert


def _arg(kind: str) -> Converter:
    def convert(b: Builder, op: Op) -> None:
        x, axis, keep = b.names(op)[0], known_axes(b, op, 1)[0], int(bool(word(op, "keepdims")))
        if word(op, "flatten"):
            x, axis, keep = b.node("Reshape", [x, b.constant([-1])])[0], 0, 0
            if word(op, "keepdims"):
                raise ValueError("it looks through all axes at once, and keeps them")
        made = b.node(kind, [x], axis=axis, keepdims=keep)
        b.node("Cast", made, out(op), to=number(word(op, "dtype", "int64")))

    return convert


def _cumsum(b: Builder, op: Op) -> None:
    x, axis = b.names(op)[0], known_axes(b, op, 1)[0]
    if word(op, "flatten"):
        x, axis = b.node("Reshape", [x, b.constant([-1])])[0], 0
    words = {"exclusive": int(bool(word(op, "exclusive"))), "reverse": int(bool(word(op, "reverse")))}
    b.node("CumSum", [x, b.constant(axis)], out(op), **words)


def _running(kind: str, neutral: float) -> Converter:
    """What is found of the first 1, 2, ... numbers of an axis: all of them under a triangle."""

    def convert(b: Builder, op: Op) -> None:
        if word(op, "exclusive") or word(op, "reverse") or word(op, "flatten"):
            raise ValueError("one that begins elsewhere")
        x, rank, dtype = b.names(op)[0], b.rank(op["I"][0]["%"]), b.dtype(op["I"][0]["%"])
        axis = word(op, "dim" if kind == "ReduceProd" else "axis") % rank
        order = [i for i in range(rank) if i != axis] + [axis]
        last = b.node("Unsqueeze", [*b.node("Transpose", [x], perm=order), b.constant([rank - 1])])[0]
        places = b.node("Range", [b.constant(0), *b.node("Squeeze", [b.dims(x, axis, axis + 1)]), b.constant(1)])[0]
        columns = b.node("Unsqueeze", [places, b.constant([1])])[0]
        seen = b.node("LessOrEqual", [places, columns])[0]  # [row, place]
        rows = b.node("Where", [seen, last, b.constant(neutral, dtype)])
        back = [order.index(i) for i in range(rank)]
        b.node("Transpose", b.node(kind, rows, axes=[rank], keepdims=0), out(op)[:1], perm=back)
        if len(op["O"]) > 1:
            arg = "ArgMax" if kind == "ReduceMax" else "ArgMin"
            index = b.node(arg, rows, axis=rank, keepdims=0, select_last_index=1)
            moved = b.node("Transpose", index, perm=back)
            b.node("Cast", moved, out(op)[1:2], to=number(b.dtype(op["O"][1]["%"])))

    return convert


def _maxout(b: Builder, op: Op) -> None:
    """The largest of each of `groups` neighbouring channels."""
    groups, x, shape = word(op, "groups"), b.names(op)[0], b.shape(op["I"][0]["%"])
    axis = word(op, "axis") % len(shape)
    parts = [b.dims(x, 0, axis), b.constant([shape[axis] // groups, groups]), b.dims(x, axis + 1, len(shape))]
    apart = b.node("Reshape", [x, *b.node("Concat", parts, axis=0)])
    b.node("ReduceMax", apart, out(op), axes=[axis + 1], keepdims=0)


def _softmax(kind: str) -> Converter:
    return lambda b, op: b.node(kind, b.names(op), out(op), axis=word(op, "axis", -1))


CONVERTERS: dict[str, Converter] = {
    **{name: _reduced(kind) for name, kind in _REDUCED.items()},
    "any": _truth("ReduceMax"),
    "all": _truth("ReduceMin"),
    "argmax": _arg("ArgMax"),
    "argmin": _arg("ArgMin"),
    "cumsum": _cumsum,
    "cumprod": _running("ReduceProd", 1.0),
    "cummax": _running("ReduceMax", float("-inf")),
    "cummin": _running("ReduceMin", float("inf")),
    "logcumsumexp": _running("ReduceLogSumExp", float("-inf")),
    "maxout": _maxout,
    "softmax": _softmax("Softmax"),
    "log_softmax": _softmax("LogSoftmax"),
}
