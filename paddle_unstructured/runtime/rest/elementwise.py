# SPDX-License-Identifier: Apache-2.0
"""Ops that compute each number by itself, as ONNX nodes."""

from __future__ import annotations

import numpy as np

from .builder import Builder, Converter, Op, number, out, then, word, written

_SAME = {  # one node of the same inputs
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "abs": "Abs",
    "floor": "Floor",
    "ceil": "Ceil",
    "round": "Round",
    "sin": "Sin",
    "cos": "Cos",
    "erf": "Erf",
    "sign": "Sign",
    "logical_not": "Not",
    "reciprocal": "Reciprocal",
    "isnan_v2": "IsNaN",
    "isnan": "IsNaN",
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "divide": "Div",
    "elementwise_pow": "Pow",
    "maximum": "Max",
    "minimum": "Min",
    "equal": "Equal",
    "less_than": "Less",
    "less_equal": "LessOrEqual",
    "greater_than": "Greater",
    "greater_equal": "GreaterOrEqual",
    "logical_and": "And",
    "logical_or": "Or",
    "logical_xor": "Xor",
    "where": "Where",
    "atan": "Atan",
    "asin": "Asin",
    "acos": "Acos",
    "asinh": "Asinh",
    "acosh": "Acosh",
    "atanh": "Atanh",
    "sinh": "Sinh",
    "cosh": "Cosh",
    "tan": "Tan",
    "isinf": "IsInf",
    "fmax": "Max",
    "fmin": "Min",
    "bmm": "MatMul",
    "mv": "MatMul",
    "det": "Det",
    "assign": "Identity",
    "share_data": "Identity",
}


def _scale(b: Builder, op: Op) -> None:
    x, factor = b.names(op)
    dtype = b.dtype(op["I"][0]["%"])
    factor, shift = b.scalar(factor, dtype), b.constant(word(op, "bias", 0.0), dtype)
    if word(op, "bias_after_scale", True):
        b.node("Add", [b.node("Mul", [x, factor])[0], shift], out(op))
    else:
        b.node("Mul", [b.node("Add", [x, shift])[0], factor], out(op))


def _clip(b: Builder, op: Op) -> None:
    dtype = b.dtype(op["I"][0]["%"])
    x, *ends = b.names(op)
    b.node("Clip", [x, *(b.scalar(end, dtype) for end in ends)], out(op))


def _floor_divide(b: Builder, op: Op) -> None:
    """Paddle rounds to minus infinity, ONNX whole numbers to 0: so it is done in float64."""
    a, c = (b.node("Cast", [name], to=number("float64"))[0] for name in b.names(op))
    made = b.node("Floor", b.node("Div", [a, c]))
    b.node("Cast", made, out(op), to=number(b.dtype(op["O"][0]["%"])))


def _remainder(b: Builder, op: Op) -> None:
    """The sign of the divisor, as Paddle has it: a - floor(a / b) * b."""
    a, c = (b.node("Cast", [name], to=number("float64"))[0] for name in b.names(op))
    whole = b.node("Mul", [b.node("Floor", b.node("Div", [a, c]))[0], c])
    b.node("Cast", b.node("Sub", [a, *whole]), out(op), to=number(b.dtype(op["O"][0]["%"])))


def _trunc(b: Builder, op: Op) -> None:
    x = b.names(op)[0]
    b.node("Mul", [b.node("Sign", [x])[0], *b.node("Floor", b.node("Abs", [x]))], out(op))


def _added(b: Builder, op: Op) -> None:
    b.node("Sum", b.lists[op["I"][0]["%"]], out(op))


def _bits(kind: str) -> Converter:
    """Of truths only."""

    def convert(b: Builder, op: Op) -> None:
        if b.dtype(op["I"][0]["%"]) != "bool":
            raise ValueError("only that of truths is known")
        b.node(kind, b.names(op), out(op))

    return convert


def _lerp(b: Builder, op: Op) -> None:
    x, y, weight = b.names(op)
    b.node("Add", [x, *b.node("Mul", [weight, *b.node("Sub", [y, x])])], out(op))


def _atan2(b: Builder, op: Op) -> None:
    """atan(y / x), and half a turn more or less where x is below zero; a quarter where it is zero."""
    dtype = b.dtype(op["I"][0]["%"])
    y, x = b.names(op)
    zero, turn = b.constant(0, dtype), b.constant(np.pi, dtype)
    side = b.node("Where", [b.node("Less", [y, zero])[0], b.constant(-np.pi, dtype), turn])[0]
    plain = b.node("Atan", b.node("Div", [y, x]))[0]
    moved = b.node("Where", [b.node("Less", [x, zero])[0], b.node("Add", [plain, side])[0], plain])[0]
    quarter = b.node("Mul", [b.node("Sign", [y])[0], b.constant(np.pi / 2, dtype)])[0]
    b.node("Where", [b.node("Equal", [x, zero])[0], quarter, moved], out(op))


def _dropout(b: Builder, op: Op) -> None:
    """In an inference Program: nothing, or a factor."""
    keeps = word(op, "mode") == "upscale_in_train"
    if not word(op, "is_test", True):
        raise ValueError("one that is random")
    if keeps:
        b.node("Identity", b.names(op)[:1], out(op)[:1])
    else:
        dtype = b.dtype(op["I"][0]["%"])
        kept = b.node("Sub", [b.constant(1, dtype), b.scalar(b.name(op["I"][2]["%"]), dtype)])
        b.node("Mul", [b.names(op)[0], *kept], out(op)[:1])


def _dot(b: Builder, op: Op) -> None:
    axis = b.constant([b.rank(op["I"][0]["%"]) - 1])
    b.node("ReduceSum", [*b.node("Mul", b.names(op)), axis], out(op), keepdims=0)


def _silu(b: Builder, op: Op) -> None:
    x = b.names(op)[0]
    b.node("Mul", [x, *b.node("Sigmoid", [x])], out(op))


def _pow(b: Builder, op: Op) -> None:
    names, dtype = b.names(op), b.dtype(op["I"][0]["%"])
    power = b.node("Cast", names[1:2], to=number(dtype))[0] if len(names) > 1 else b.constant(word(op, "y"), dtype)
    b.node("Pow", [names[0], power], out(op))


CONVERTERS: dict[str, Converter] = {
    **{name: then(kind) for name, kind in _SAME.items()},
    "scale": _scale,
    "clip": _clip,
    "square": lambda b, op: b.node("Mul", [*b.names(op), *b.names(op)], out(op)),
    "cast": lambda b, op: b.node("Cast", b.names(op), out(op), to=number(word(op, "dtype"))),
    "rsqrt": then("Sqrt", "Reciprocal"),
    "not_equal": then("Equal", "Not"),
    "floor_divide": _floor_divide,
    "remainder": _remainder,
    "pow": _pow,
    "trunc": _trunc,
    "add_n": _added,
    "bitwise_not": _bits("Not"),
    "bitwise_and": _bits("And"),
    "bitwise_or": _bits("Or"),
    "bitwise_xor": _bits("Xor"),
    "lerp": _lerp,
    "atan2": _atan2,
    "dropout": _dropout,
    "log1p": written(("Add", "x", 1.0), ("Log", "#0")),
    "expm1": written(("Exp", "x"), ("Sub", "#0", 1.0)),
    "log2": written(("Log", "x"), ("Div", "#0", np.log(2.0))),
    "log10": written(("Log", "x"), ("Div", "#0", np.log(10.0))),
    "isfinite": written(("Sub", "x", "x"), ("Equal", "#0", 0.0)),
    "dot": _dot,
    "masked_fill": lambda b, op: b.node("Where", [b.names(op)[i] for i in (1, 2, 0)], out(op)),
    "logit": written(("Sub", 1.0, "x"), ("Div", "x", "#0"), ("Log", "#1")),
}
