# SPDX-License-Identifier: Apache-2.0
"""Norms and products, as ONNX nodes."""

from __future__ import annotations

from typing import Any

from .builder import Builder, Converter, Op, channels_first, out, word


def _matmul(b: Builder, op: Op) -> None:
    inputs = b.names(op)
    for i, side in enumerate(("transpose_x", "transpose_y")):
        rank = b.rank(op["I"][i]["%"])
        if word(op, side) and rank > 1:
            order = [*range(rank - 2), rank - 1, rank - 2]
            inputs[i] = b.node("Transpose", [inputs[i]], perm=order)[0]
    b.node("MatMul", inputs, out(op))


def _einsum(b: Builder, op: Op) -> None:
    b.node("Einsum", b.lists[op["I"][0]["%"]], out(op)[:1], equation=word(op, "equation").replace(" ", ""))


def _addmm(b: Builder, op: Op) -> None:
    given, x, y = b.names(op)
    b.node("Gemm", [x, y, given], out(op), alpha=word(op, "alpha"), beta=word(op, "beta"))


def _baddbmm(b: Builder, op: Op) -> None:
    given, x, y = b.names(op)
    alpha, beta = (b.constant(word(op, name), b.dtype(op["I"][0]["%"])) for name in ("alpha", "beta"))
    product = b.node("Mul", [b.node("MatMul", [x, y])[0], alpha])
    b.node("Add", [*product, *b.node("Mul", [given, beta])], out(op))


def _batch_norm(b: Builder, op: Op) -> None:
    if b.rank(op["I"][0]["%"]) > 2:
        channels_first(op)
    x, mean, variance = b.names(op)[:3]
    scale, shift = _affine(b, op, b.shape(op["I"][1]["%"])[0], 3)
    b.node("BatchNormalization", [x, scale, shift, mean, variance], out(op)[:1], epsilon=word(op, "epsilon"))


def _affine(b: Builder, op: Op, count: int, first: int = 1) -> list[str]:
    """Scale and shift, operands `first` and the next, which may be missing."""
    return [
        b.name(op["I"][i]["%"]) if b.is_given(op, i) else b.constant([number] * count, b.dtype(op["I"][0]["%"]))
        for i, number in ((first, 1.0), (first + 1, 0.0))
    ]


def _layer_norm(b: Builder, op: Op) -> None:
    """Scale and shift are flat in Paddle."""
    axis, shape = word(op, "begin_norm_axis"), b.shape(op["I"][0]["%"])
    x, rest, dtype = b.names(op)[0], b.constant(shape[axis:]), b.dtype(op["I"][0]["%"])
    if min(shape[axis:]) < 0:
        raise ValueError("one over an open size")
    names = [x]
    for i, number in ((1, 1.0), (2, 0.0)):
        flat = b.name(op["I"][i]["%"]) if b.is_given(op, i) else b.constant(number, dtype)
        names += b.node("Reshape" if b.is_given(op, i) else "Expand", [flat, rest])
    b.node("LayerNormalization", names, out(op)[:1], axis=axis, epsilon=word(op, "epsilon"))


def _instance_norm(b: Builder, op: Op) -> None:
    affine = _affine(b, op, b.shape(op["I"][0]["%"])[1])
    b.node("InstanceNormalization", [b.names(op)[0], *affine], out(op)[:1], epsilon=word(op, "epsilon"))


def _group_norm(b: Builder, op: Op) -> None:
    """Groups are channels of an instance norm."""
    channels_first(op)
    x, shape, groups = b.names(op)[0], b.shape(op["I"][0]["%"]), word(op, "groups")
    dtype = b.dtype(op["I"][0]["%"])
    rows = b.node("Reshape", [x, b.constant([0, groups, -1])])
    plain = [b.constant([number] * groups, dtype) for number in (1.0, 0.0)]
    made = b.node("InstanceNormalization", [*rows, *plain], epsilon=word(op, "epsilon"))
    whole = b.node("Reshape", [*made, b.dims(x, 0, len(shape))])[0]
    each = b.constant([-1] + [1] * (len(shape) - 2))
    scale, shift = (b.node("Reshape", [name, each])[0] for name in _affine(b, op, shape[1]))
    b.node("Add", [b.node("Mul", [whole, scale])[0], shift], out(op)[:1])


def _p_norm(b: Builder, op: Op) -> None:
    power, keep = word(op, "porder"), int(bool(word(op, "keepdim")))
    x = b.names(op)[0]
    words: dict[str, Any] = {"keepdims": keep}
    if not word(op, "asvector"):
        words["axes"] = [word(op, "axis")]
    if power in (1.0, 2.0):
        b.node(f"ReduceL{int(power)}", [x], out(op), **words)
        return
    size = b.node("Abs", [x])
    if power in (float("inf"), float("-inf")):
        b.node("ReduceMax" if power > 0 else "ReduceMin", size, out(op), **words)
        return
    dtype = b.dtype(op["I"][0]["%"])
    powers = b.node("Pow", [*size, b.constant(power, dtype)])
    axes = [b.constant(words["axes"])] if "axes" in words else []
    b.node("Pow", [*b.node("ReduceSum", [*powers, *axes], keepdims=keep), b.constant(1 / power, dtype)], out(op))


def _frobenius(b: Builder, op: Op) -> None:
    axes = b.numbers(op, 1) or word(op, "axis", [])
    words = {} if word(op, "reduce_all") or not axes else {"axes": axes}
    b.node("ReduceL2", b.names(op)[:1], out(op), keepdims=int(bool(word(op, "keep_dim"))), **words)


CONVERTERS: dict[str, Converter] = {
    "matmul": _matmul,
    "einsum": _einsum,
    "addmm": _addmm,
    "baddbmm": _baddbmm,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "instance_norm": _instance_norm,
    "group_norm": _group_norm,
    "p_norm": _p_norm,
    "frobenius_norm": _frobenius,
}
