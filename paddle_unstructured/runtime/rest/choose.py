# SPDX-License-Identifier: Apache-2.0
"""Ops that choose numbers by others, as ONNX nodes."""

from __future__ import annotations

from .builder import Builder, Converter, Op, known_axes, number, out, with_lists, word


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


def _nms(b: Builder, op: Op) -> None:
    """Places of the boxes that are kept, which come the best first."""
    boxes = b.node("Unsqueeze", [b.names(op)[0], b.constant([0])])[0]
    count = b.node("Gather", [*b.node("Shape", b.names(op)[:1]), b.constant(0)], axis=0)[0]
    places = b.node("Range", [b.constant(0), count, b.constant(1)])[0]
    scores = b.node("Neg", b.node("Cast", [places], to=number("float32")))  # they are in order already
    scores = b.node("Unsqueeze", [*scores, b.constant([0, 1])])
    limit = b.constant([word(op, "threshold")], "float32")
    kept = b.node("NonMaxSuppression", [boxes, *scores, b.node("Reshape", [count, b.constant([1])])[0], limit])
    b.node("Gather", [*kept, b.constant(2)], out(op), axis=1)


CONVERTERS: dict[str, Converter] = {
    "topk": _topk,
    "argsort": _argsort,
    "gather": _gather,
    "index_select": _gather,
    "gather_nd": with_lists("GatherND", 2),
    "take_along_axis": _along_axis,
    "one_hot": _one_hot,
    "nonzero": _nonzero,
    "embedding": _embedding,
    "nms": _nms,
}
