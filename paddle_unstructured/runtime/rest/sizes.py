# SPDX-License-Identifier: Apache-2.0
"""Ops that make sizes and numbers of them, as ONNX nodes."""

from __future__ import annotations

import numpy as np

from .builder import Builder, Converter, Op, list_of, number, out, word


def _shape(b: Builder, op: Op) -> None:
    b.node("Cast", b.node("Shape", b.names(op)), out(op), to=number(b.dtype(op["O"][0]["%"])))


def _numel(b: Builder, op: Op) -> None:
    b.node("Cast", b.node("Size", b.names(op)), out(op), to=number(b.dtype(op["O"][0]["%"])))


def _full_like(b: Builder, op: Op) -> None:
    dtype = b.dtype(op["O"][0]["%"])
    value = b.node("Cast", [b.names(op)[1]], to=number(dtype))[0]
    b.node("Expand", [value, *b.node("Shape", b.names(op)[:1])], out(op))


def _full_with_tensor(b: Builder, op: Op) -> None:
    dtype = b.dtype(op["O"][0]["%"])
    value = b.node("Cast", b.node("Reshape", [b.names(op)[0], b.constant([1])]), to=number(dtype))[0]
    b.node("Expand", [value, list_of(b, op, 1)], out(op))


def _arange(b: Builder, op: Op) -> None:
    dtype = b.dtype(op["O"][0]["%"])
    scalars = [b.node("Reshape", [name, b.constant([], "int64")])[0] for name in b.names(op)[:3]]
    b.node("Range", [b.node("Cast", [each], to=number(dtype))[0] for each in scalars], out(op))


def _linspace(b: Builder, op: Op) -> None:
    """Each half counts from its own end, as Paddle does."""
    dtype = b.dtype(op["O"][0]["%"])
    low, high = (b.scalar(name, "float32") for name in b.names(op)[:2])
    count = b.scalar(b.names(op)[2], "int64")
    one = b.constant(1)
    last = b.node("Sub", [count, one])[0]
    parts = b.cast(b.node("Max", [last, one])[0], "float32")
    step = b.node("Div", [b.node("Sub", [high, low])[0], parts])[0]
    places = b.node("Range", [b.constant(0), count, one])[0]
    from_low = b.node("Mul", [b.cast(places, "float32"), step])[0]
    from_high = b.node("Mul", [b.cast(b.node("Sub", [last, places])[0], "float32"), step])[0]
    is_first = b.node("Less", [places, b.node("Div", [b.node("Add", [count, one])[0], b.constant(2)])[0]])[0]
    both = [b.node("Add", [low, from_low])[0], b.node("Sub", [high, from_high])[0]]
    b.node("Cast", b.node("Where", [is_first, *both]), out(op), to=number(dtype))


def _full_batch_size_like(b: Builder, op: Op) -> None:
    """One axis is as large as one of another value's."""
    shape, at, axis = list(word(op, "shape")), word(op, "output_dim_idx"), word(op, "input_dim_idx")
    parts = [b.constant(shape[:at]), b.dims(b.names(op)[0], axis, axis + 1), b.constant(shape[at + 1 :])]
    value = b.constant(word(op, "value"), b.dtype(op["O"][0]["%"]))
    b.node("Expand", [value, *b.node("Concat", parts, axis=0)], out(op))


def _meshgrid(b: Builder, op: Op) -> None:
    parts = b.lists[op["I"][0]["%"]]
    flat = [b.node("Reshape", [part, b.constant([-1])])[0] for part in parts]
    shape = b.node("Concat", [b.node("Shape", [each])[0] for each in flat], axis=0)[0]
    made = []
    for i, each in enumerate(flat):
        own = b.constant([-1 if k == i else 1 for k in range(len(flat))])
        made += b.node("Expand", [b.node("Reshape", [each, own])[0], shape])
    b.lists[op["O"][0]["%"]] = made


def constant_of(op: Op) -> np.ndarray | None:
    """What an op makes that depends on nothing; None of any other."""
    kind = op["#"].split(".")[-1].rstrip("_")
    if kind == "assign_value":
        return np.asarray(np.array(word(op, "values"), word(op, "dtype")).reshape(word(op, "shape")))
    if kind == "full":
        return np.full(word(op, "shape"), word(op, "value"), word(op, "dtype"))
    if kind == "full_int_array":
        return np.array(word(op, "value"), word(op, "dtype", "int64"))
    if kind == "tril_indices" or kind == "triu_indices":
        chosen = np.tril_indices if kind == "tril_indices" else np.triu_indices
        rows = word(op, "rows" if kind == "tril_indices" else "row")
        columns = word(op, "cols" if kind == "tril_indices" else "col")
        return np.array(chosen(rows, word(op, "offset"), columns), word(op, "dtype"))
    return None


CONVERTERS: dict[str, Converter] = {
    "shape": _shape,
    "shape64": _shape,
    "numel": _numel,
    "full_like": _full_like,
    "full_with_tensor": _full_with_tensor,
    "arange": _arange,
    "meshgrid": _meshgrid,
    "linspace": _linspace,
    "full_batch_size_like": _full_batch_size_like,
}
