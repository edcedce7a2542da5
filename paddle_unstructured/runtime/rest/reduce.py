# SPDX-License-Identifier: Apache-2.0
"""Ops that go over axes, as ONNX nodes."""

from __future__ import annotations

from typing import Any

from .builder import Builder, Converter, Op, known_axes, number, out, word

_REDUCED = {"mean": "ReduceMean", "max": "ReduceMax", "min": "ReduceMin", "prod": "ReduceProd", "sum": "ReduceSum"}


def _reduced(kind: str) -> Converter:
    def convert(b: Builder, op: Op) -> None:
        axes = b.numbers(op, 1) if len(op["I"]) > 1 else word(op, "axis", [])
        words: dict[str, Any] = {"keepdims": int(bool(word(op, "keepdim", False)))}
        inputs = b.names(op)[:1]
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


def _softmax(kind: str) -> Converter:
    return lambda b, op: b.node(kind, b.names(op), out(op), axis=word(op, "axis", -1))


CONVERTERS: dict[str, Converter] = {
    **{name: _reduced(kind) for name, kind in _REDUCED.items()},
    "any": _truth("ReduceMax"),
    "all": _truth("ReduceMin"),
    "argmax": _arg("ArgMax"),
    "argmin": _arg("ArgMin"),
    "cumsum": _cumsum,
    "softmax": _softmax("Softmax"),
    "log_softmax": _softmax("LogSoftmax"),
}
