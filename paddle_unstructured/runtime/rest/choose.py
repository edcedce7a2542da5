# SPDX-License-Identifier: Apache-2.0
"""Ops that choose numbers by others, as ONNX nodes."""

from __future__ import annotations

from .builder import Builder, Converter, Op, known_axes, number, out, word


def _topk(b: Builder, op: Op) -> None:
    count = b.node("Reshape", [b.node("Cast", [b.names(op)[1]], to=number("int64"))[0], b.constant([1])])
    words = {"axis": word(op, "axis", -1), "largest": int(word(op, "largest", True)), "sorted": 1}
    b.node("TopK", [b.names(op)[0], *count], out(op), **words)


def _argsort(b: Builder, op: Op) -> None:
    rank, axis = b.rank(op["I"][0]["%"]), word(op, "axis", -1)
    shape = b.node("Shape", b.names(op)[:1])[0]
    count = b.node("Slice", [shape, b.constant([axis % rank]), b.constant([axis % rank + 1])])
    words = {"axis": axis, "largest": int(word(op, "descending", False)), "sorted": 1}
    b.node("TopK", [b.names(op)[0], *count], out(op), **words)


def _gather(b: Builder, op: Op) -> None:
    x, index = b.names(op)[:2]
    axis = known_axes(b, op, 2)[0] if len(op["I"]) > 2 else word(op, "axis", 0)
    b.node("Gather", [x, index], out(op), axis=axis)


def _along_axis(b: Builder, op: Op) -> None:
    """Indices broadcast against what they choose from, but for the axis."""
    x, index = b.names(op)[:2]
    rank, axis = b.rank(op["I"][0]["%"]), word(op, "axis", 0)
    i = axis % rank
    own, theirs = (b.node("Shape", [name])[0] for name in (x, index))
    cuts = ((0, i, own), (i, i + 1, theirs), (i + 1, rank, own))
    parts = [b.node("Slice", [s, b.constant([low]), b.constant([high])])[0] for low, high, s in cuts if low < high]
    shape = b.node("Concat", parts, axis=0)[0]
    b.node("GatherElements", [x, *b.node("Expand", [index, shape])], out(op), axis=axis)


def _one_hot(b: Builder, op: Op) -> None:
    depth = b.node("Cast", [b.names(op)[1]], to=number("int64"))[0]
    dtype = b.dtype(op["O"][0]["%"])
    b.node("OneHot", [b.names(op)[0], depth, b.constant([0, 1], dtype)], out(op), axis=-1)


def _nonzero(b: Builder, op: Op) -> None:
    b.node("Transpose", b.node("NonZero", b.names(op)), out(op), perm=[1, 0])


def _embedding(b: Builder, op: Op) -> None:
    rows, table = b.names(op)[:2]
    b.node("Gather", [table, rows], out(op), axis=0)


def _index_sample(b: Builder, op: Op) -> None:
    b.node("GatherElements", b.names(op), out(op), axis=1)


def _searchsorted(b: Builder, op: Op) -> None:
    """How many of the sorted numbers lie below."""
    row, x = b.names(op)
    if b.rank(op["I"][0]["%"]) > 1:
        row = b.node("Unsqueeze", [row, b.constant([-2])])[0]
    each = b.node("Unsqueeze", [x, b.constant([-1])])[0]
    below = b.node("LessOrEqual" if word(op, "right") else "Less", [row, each])[0]
    count = b.node("ReduceSum", [b.cast(below, "int64"), b.constant([-1])], keepdims=0)
    b.node("Cast", count, out(op), to=number(b.dtype(op["O"][0]["%"])))


def _kth(b: Builder, op: Op) -> None:
    axis, k = word(op, "axis"), word(op, "k")
    found = b.node("TopK", [b.names(op)[0], b.constant([k])], 2, axis=axis, largest=0, sorted=1)
    for name, to in zip(found, out(op)):
        b.node("Gather", [name, b.constant([k - 1] if word(op, "keepdim") else k - 1)], [to], axis=axis)


def _median(b: Builder, op: Op) -> None:
    """Of an even number the mean of the middle two, or the lower one."""
    axes, shape, (x, *_) = word(op, "axis"), b.shape(op["I"][0]["%"]), b.names(op)
    if len(axes) != 1 or shape[axes[0]] < 0:
        raise ValueError("one over several axes, or over an open size")
    extent, axis = shape[axes[0]], axes[0]
    half = extent // 2 + 1 if extent % 2 or word(op, "mode") == "avg" else extent // 2
    lowest, _ = b.node("TopK", [x, b.constant([half])], 2, axis=axis, largest=0, sorted=1)
    first = half - 1 if extent % 2 or word(op, "mode") != "avg" else half - 2
    middle = b.node("Slice", [lowest, b.constant([first]), b.constant([half]), b.constant([axis])])
    b.node("ReduceMean", middle, out(op)[:1], axes=[axis], keepdims=int(bool(word(op, "keepdim"))))


def _masked_select(b: Builder, op: Op) -> None:
    x, mask = b.names(op)
    whole = b.node("Expand", [mask, b.dims(x, 0, b.rank(op["I"][0]["%"]))])[0]
    b.node("Compress", [b.node("Reshape", [each, b.constant([-1])])[0] for each in (x, whole)], out(op))


def _unique(b: Builder, op: Op) -> None:
    axis = word(op, "axis")
    b.node("Unique", b.names(op)[:1], out(op), sorted=1, **({"axis": axis[0]} if axis else {}))


CONVERTERS: dict[str, Converter] = {
    "topk": _topk,
    "argsort": _argsort,
    "gather": _gather,
    "index_select": _gather,
    "gather_nd": lambda b, op: b.node("GatherND", [b.names(op)[0], b.cast(b.names(op)[1], "int64")], out(op)),
    "take_along_axis": _along_axis,
    "one_hot": _one_hot,
    "nonzero": _nonzero,
    "embedding": _embedding,
    "index_sample": _index_sample,
    "searchsorted": _searchsorted,
    "kthvalue": _kth,
    "median": _median,
    "masked_select": _masked_select,
    "unique": _unique,
}
