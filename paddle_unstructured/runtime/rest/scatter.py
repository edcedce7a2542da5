# SPDX-License-Identifier: Apache-2.0
"""Ops that write numbers to places that others give, as ONNX nodes."""

from __future__ import annotations

from .builder import Builder, Converter, Op, list_of, out, word


def _scatter(b: Builder, op: Op) -> None:
    """Rows; those that are added to others begin at zero."""
    x, index, updates = b.names(op)
    places = b.node("Unsqueeze", [index, b.constant([-1])])[0]
    if word(op, "overwrite"):
        b.node("ScatterND", [x, places, updates], out(op))
        return
    zeros = b.node("Mul", [updates, b.constant(0, b.dtype(op["I"][0]["%"]))])[0]
    empty = b.node("ScatterND", [x, places, zeros])[0]
    b.node("ScatterND", [empty, places, updates], out(op), reduction="add")


def _scatter_nd_add(b: Builder, op: Op) -> None:
    x, index, updates = b.names(op)
    b.node("ScatterND", [x, b.cast(index, "int64"), updates], out(op), reduction="add")


def _put_along_axis(b: Builder, op: Op) -> None:
    reductions = {"assign": "none", "add": "add", "mul": "mul", "multiply": "mul"}
    if word(op, "reduce") not in reductions or not word(op, "include_self", True):
        raise ValueError(f"`reduce` is {word(op, 'reduce')}")
    words = {"axis": word(op, "axis"), "reduction": reductions[word(op, "reduce")]}
    b.node("ScatterElements", b.names(op), out(op), **words)


def _index_add(b: Builder, op: Op) -> None:
    """Along an axis, which comes first meanwhile."""
    x, index, updates = b.names(op)
    rank = b.rank(op["I"][0]["%"])
    axis = word(op, "axis") % rank
    order = [axis, *(i for i in range(rank) if i != axis)]
    first = [b.node("Transpose", [each], perm=order)[0] for each in (x, updates)]
    places = b.node("Unsqueeze", [index, b.constant([-1])])[0]
    made = b.node("ScatterND", [first[0], places, first[1]], reduction="add")
    b.node("Transpose", made, out(op), perm=[order.index(i) for i in range(rank)])


def _index_put(b: Builder, op: Op) -> None:
    """Places are lists of one shape, one for each of the first axes."""
    x, value = b.name(op["I"][0]["%"]), b.name(op["I"][2]["%"])
    lists = b.lists[op["I"][1]["%"]]
    index = b.node("Concat", [b.node("Unsqueeze", [each, b.constant([-1])])[0] for each in lists], axis=-1)[0]
    shapes = [b.node("Shape", [lists[0]])[0], b.node("Shape", [x], start=len(lists))[0]]
    whole = b.node("Expand", [value, *b.node("Concat", shapes, axis=0)])[0]
    b.node("ScatterND", [x, index, whole], out(op), reduction="add" if word(op, "accumulate") else "none")


def _set_value(with_tensor: bool) -> Converter:
    """Numbers into a slice: its places are found as a slice of all places."""

    def convert(b: Builder, op: Op) -> None:
        if word(op, "none_axes"):
            raise ValueError("it makes new axes")
        x, dtype, first = b.name(op["I"][0]["%"]), b.dtype(op["I"][0]["%"]), 2 if with_tensor else 1
        starts, ends, steps = (list_of(b, op, i) for i in range(first, first + 3))
        shape, flat = b.dims(x, 0, b.rank(op["I"][0]["%"])), b.constant([-1])
        places = b.node("Range", [b.constant(0), *b.node("Size", [x]), b.constant(1)])
        chosen = b.node(
            "Slice", [*b.node("Reshape", [*places, shape]), starts, ends, b.constant(word(op, "axes")), steps]
        )
        dropped = word(op, "decrease_axes")
        chosen = b.node("Squeeze", [*chosen, b.constant(dropped)]) if dropped else chosen
        if with_tensor:
            value = b.name(op["I"][1]["%"])
        else:
            value = b.node("Reshape", [b.constant(word(op, "values"), dtype), b.constant(word(op, "shape"))])[0]
        whole = b.node("Expand", [value, *b.node("Shape", chosen)])[0]
        rows = [b.node("Reshape", [each, flat])[0] for each in (x, *chosen, whole)]
        b.node("Reshape", [*b.node("ScatterElements", rows, axis=0), shape], out(op))

    return convert


def _send(b: Builder, op: Op) -> None:
    """Rows of a graph's nodes along its edges, added where they arrive."""
    x, source, to = b.names(op)[:3]
    kind, size = str(word(op, "reduce_op")).upper(), b.numbers(op, 3) if len(op["I"]) > 3 else [0]
    if kind not in ("SUM", "MEAN") or not size or size[0] > 0:
        raise ValueError(f"`reduce_op` is {kind}, or the result has another size")
    zeros = b.node("Mul", [x, b.constant(0, b.dtype(op["I"][0]["%"]))])[0]
    places = b.node("Unsqueeze", [to, b.constant([-1])])[0]
    rows = b.node("Gather", [x, source], axis=0)[0]
    if kind == "SUM":
        b.node("ScatterND", [zeros, places, rows], out(op)[:1], reduction="add")
        return
    one = b.constant(1, b.dtype(op["I"][0]["%"]))
    found = b.node("ScatterND", [zeros, places, rows], reduction="add")[0]
    ones = b.node("Add", [b.node("Mul", [rows, b.constant(0, b.dtype(op["I"][0]["%"]))])[0], one])[0]
    count = b.node("ScatterND", [zeros, places, ones], reduction="add")[0]
    b.node("Div", [found, *b.node("Max", [count, one])], out(op)[:1])


CONVERTERS: dict[str, Converter] = {
    "scatter": _scatter,
    "scatter_nd_add": _scatter_nd_add,
    "put_along_axis": _put_along_axis,
    "index_add": _index_add,
    "index_put": _index_put,
    "set_value": _set_value(False),
    "set_value_with_tensor": _set_value(True),
    "send_u_recv": _send,
}
