# SPDX-License-Identifier: Apache-2.0
"""Ops that compute each number by itself, as ONNX nodes."""

from __future__ import annotations

from .builder import Builder, Converter, Op, number, out, then, word

_SAME = {  # one node of the same inputs
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
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
    "softsign": "Softsign",
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
    "bmm": "MatMul",
    "assign": "Identity",
    "share_data": "Identity",
    "hardswish": "HardSwish",
}


def _scale(b: Builder, op: Op) -> None:
    x, factor = b.names(op)
    dtype = b.dtype(op["I"][0]["%"])
    factor, shift = b.node("Cast", [factor], to=number(dtype))[0], b.constant(word(op, "bias", 0.0), dtype)
    if word(op, "bias_after_scale", True):
        b.node("Add", [b.node("Mul", [x, factor])[0], shift], out(op))
    else:
        b.node("Mul", [b.node("Add", [x, shift])[0], factor], out(op))


def _clip(b: Builder, op: Op) -> None:
    dtype = b.dtype(op["I"][0]["%"])
    x, *ends = b.names(op)
    scalars = [b.node("Cast", b.node("Reshape", [end, b.constant([], "int64")]), to=number(dtype))[0] for end in ends]
    b.node("Clip", [x, *scalars], out(op))


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


def _activation(kind: str, **names: str) -> Converter:
    """An activation whose parameters are attributes under other names."""
    return lambda b, op: b.node(kind, b.names(op)[:1], out(op), **{to: word(op, name) for to, name in names.items()})


def _softplus(b: Builder, op: Op) -> None:
    if word(op, "beta", 1.0) != 1:
        raise ValueError("only that of beta 1 is known")
    b.node("Softplus", b.names(op)[:1], out(op))


def _silu(b: Builder, op: Op) -> None:
    x = b.names(op)[0]
    b.node("Mul", [x, *b.node("Sigmoid", [x])], out(op))


def _gelu(b: Builder, op: Op) -> None:
    if word(op, "approximate"):
        raise ValueError("only the exact one is known")
    x, half, one, root = b.names(op)[0], *(b.constant(n, b.dtype(op["I"][0]["%"])) for n in (0.5, 1.0, 2**-0.5))
    inner = b.node("Add", [b.node("Erf", b.node("Mul", [x, root]))[0], one])
    b.node("Mul", [b.node("Mul", [x, half])[0], *inner], out(op))


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
    "silu": _silu,
    "swish": _silu,
    "gelu": _gelu,
    "leaky_relu": _activation("LeakyRelu", alpha="negative_slope"),
    "hardsigmoid": _activation("HardSigmoid", alpha="slope", beta="offset"),
    "elu": _activation("Elu", alpha="alpha"),
    "relu6": lambda b, op: b.node("Clip", [*b.names(op)[:1], *(b.constant(n, "float32") for n in (0.0, 6.0))], out(op)),
    "softplus": _softplus,
    "pow": _pow,
}
