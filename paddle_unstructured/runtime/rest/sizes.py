# SPDX-License-Identifier: Apache-2.0
"""Ops that make sizes and numbers of them, as ONNX nodes."""

from __future__ import annotations

import numpy as np

from .builder import Builder, Converter, Op, number, out, word


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
    b.node("Expand", [value, _sizes(b, op, 1)], out(op))


def _sizes(b: Builder, op: Op, i: int) -> str:
    """An operand that is a list of sizes, or such a list of values, as one list of int64."""
    value = op["I"][i]["%"]
    parts = b.lists.get(value, [b.name(value)])
    flat = [b.node("Reshape", [b.node("Cast", [p], to=number("int64"))[0], b.constant([-1])])[0] for p in parts]
    return flat[0] if len(flat) == 1 else b.node("Concat", flat, axis=0)[0]


def _arange(b: Builder, op: Op) -> None:
    dtype = b.dtype(op["O"][0]["%"])
    scalars = [b.node("Reshape", [name, b.constant([], "int64")])[0] for name in b.names(op)[:3]]
    b.node("Range", [b.node("Cast", [each], to=number(dtype))[0] for each in scalars], out(op))


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
    return None


CONVERTERS: dict[str, Converter] = {
    "shape": _shape,
    "shape64": _shape,
    "numel": _numel,
    "full_like": _full_like,
    "full_with_tensor": _full_with_tensor,
    "arange": _arange,
    "meshgrid": _meshgrid,
}
