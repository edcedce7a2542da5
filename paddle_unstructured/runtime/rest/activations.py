# SPDX-License-Identifier: Apache-2.0
"""Activations, as ONNX nodes."""

from __future__ import annotations

from .builder import Builder, Converter, Op, channels_first, out, then, word, written

_SAME = {
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "softsign": "Softsign",
    "hardswish": "HardSwish",
}
_TANH_GELU = written(
    ("Mul", "x", "x"),
    ("Mul", "#0", "x"),
    ("Mul", "#1", 0.044715),
    ("Add", "x", "#2"),
    ("Mul", "#3", (2 / 3.141592653589793) ** 0.5),
    ("Tanh", "#4"),
    ("Add", "#5", 1.0),
    ("Mul", "x", 0.5),
    ("Mul", "#7", "#6"),
)


def _activation(kind: str, **names: str) -> Converter:
    """An activation whose parameters are attributes under other names."""
    return lambda b, op: b.node(kind, b.names(op)[:1], out(op), **{to: word(op, name) for to, name in names.items()})


def _softplus(b: Builder, op: Op) -> None:
    """log(1 + exp(beta x)) / beta; beyond the threshold Paddle returns x itself, which is the same in float32."""
    dtype, beta = b.dtype(op["I"][0]["%"]), word(op, "beta", 1.0)
    found = b.node("Softplus", b.node("Mul", [b.names(op)[0], b.constant(beta, dtype)]))
    b.node("Div", [*found, b.constant(beta, dtype)], out(op))


def _hardtanh(b: Builder, op: Op) -> None:
    dtype = b.dtype(op["I"][0]["%"])
    ends = [b.constant(word(op, name), dtype) for name in ("t_min", "t_max")]
    b.node("Clip", [b.names(op)[0], *ends], out(op))


def _shrink(soft: bool) -> Converter:
    def convert(b: Builder, op: Op) -> None:
        limit = word(op, "threshold")
        b.node("Shrink", b.names(op)[:1], out(op), lambd=limit, bias=limit if soft else 0.0)

    return convert


def _thresholded(b: Builder, op: Op) -> None:
    """Paddle's may have another value below."""
    dtype, x = b.dtype(op["I"][0]["%"]), b.names(op)[0]
    above = b.node("Greater", [x, b.constant(word(op, "threshold"), dtype)])
    b.node("Where", [*above, x, b.constant(word(op, "value", 0.0), dtype)], out(op))


def _prelu(b: Builder, op: Op) -> None:
    """Slopes are one number, one for each channel, or one for each number of a sample."""
    channels_first(op)
    x, slope = b.names(op)
    rank, mode = b.rank(op["I"][0]["%"]), word(op, "mode", "all")
    shape = {"all": [1], "channel": [-1] + [1] * (rank - 2)}.get(mode)
    b.node("PRelu", [x, b.node("Reshape", [slope, b.constant(shape)])[0] if shape else slope], out(op))


def _silu(b: Builder, op: Op) -> None:
    x = b.names(op)[0]
    b.node("Mul", [x, *b.node("Sigmoid", [x])], out(op))


def _gelu(b: Builder, op: Op) -> None:
    if word(op, "approximate"):
        _TANH_GELU(b, op)
        return
    x, half, one, root = b.names(op)[0], *(b.constant(n, b.dtype(op["I"][0]["%"])) for n in (0.5, 1.0, 2**-0.5))
    inner = b.node("Add", [b.node("Erf", b.node("Mul", [x, root]))[0], one])
    b.node("Mul", [b.node("Mul", [x, half])[0], *inner], out(op))


CONVERTERS: dict[str, Converter] = {
    **{name: then(kind) for name, kind in _SAME.items()},
    "silu": _silu,
    "swish": _silu,
    "gelu": _gelu,
    "leaky_relu": _activation("LeakyRelu", alpha="negative_slope"),
    "hardsigmoid": _activation("HardSigmoid", alpha="slope", beta="offset"),
    "elu": _activation("Elu", alpha="alpha"),
    "celu": _activation("Celu", alpha="alpha"),
    "selu": _activation("Selu", alpha="alpha", gamma="scale"),
    "relu6": written(("Clip", "x", 0.0, 6.0)),
    "softplus": _softplus,
    "mish": written(("Softplus", "x"), ("Tanh", "#0"), ("Mul", "x", "#1")),
    "logsigmoid": written(("Neg", "x"), ("Softplus", "#0"), ("Neg", "#1")),
    "tanh_shrink": written(("Tanh", "x"), ("Sub", "x", "#0")),
    "hardtanh": _hardtanh,
    "hardshrink": _shrink(False),
    "hard_shrink": _shrink(False),
    "softshrink": _shrink(True),
    "thresholded_relu": _thresholded,
    "prelu": _prelu,
}
