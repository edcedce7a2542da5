# SPDX-License-Identifier: Apache-2.0
"""Functions of one number as tables of 256 bytes, and the part of their input that matters."""

from __future__ import annotations

from math import erf
from typing import Callable

import numpy as np

from ..net import Layer
from ..precision.layers import is_clamp
from .quantizer import Quantizer

Function = Callable[[np.ndarray], np.ndarray]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -500, 500))))


_FORMULAS: dict[str, Callable[..., np.ndarray]] = {
    "none": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "clamp": np.clip,
    "hard_sigmoid": lambda x, slope, offset: np.clip(slope * x + offset, 0, 1),
    "sigmoid": _sigmoid,
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "swish": lambda x: x * _sigmoid(x),
    "tanh": np.tanh,
    "leaky_relu": lambda x, slope: np.where(x < 0, slope * x, x),
    "linear": lambda x, scale, shift: scale * x + shift,
    "elu": lambda x, a, b: np.where(x < 0, a * np.expm1(np.minimum(x, 0) / b), x),
    "selu": lambda x, a, b: a * np.where(x < 0, b * np.expm1(np.minimum(x, 0)), x),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "softplus": lambda x, beta, most: np.where(beta * x > most, x, np.logaddexp(0, beta * x) / beta),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "log_sigmoid": lambda x: -np.logaddexp(0, -x),
    "hard_shrink": lambda x, a: np.where(np.abs(x) > a, x, 0),
    "soft_shrink": lambda x, a: np.sign(x) * np.maximum(np.abs(x) - a, 0),
    "thresholded": lambda x, a, b: np.asarray(np.where(x > a, x, np.full_like(x, b))),
    "square": np.square,
    "abs": np.abs,
    "sin": np.sin,
    "cos": np.cos,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.round,
    "trunc": lambda x: np.asarray(np.sign(x) * np.floor(np.abs(x))),
    "sign": np.sign,
    "gelu": lambda x: 0.5 * x * (1 + np.vectorize(erf)(x / np.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
}
# Beyond these inputs the function is constant, or changes by less than half a step of 1/255 (sigmoid, tanh) or by less
# than 0.0013 (swish, gelu).
_SATURATES = {
    "hard_swish": (-3.0, np.inf),
    "sigmoid": (-6.5, 6.5),
    "tanh": (-3.5, 3.5),
    "swish": (-9.0, np.inf),
    "gelu": (-4.0, np.inf),
    "gelu_tanh": (-4.0, np.inf),
}


def activation(act: str) -> Function:
    """An activation in the plan's language as a function of float64."""
    name, *numbers = act.split(":")
    return lambda x: _FORMULAS[name](x, *map(float, numbers))


def function_of(layer: Layer) -> Function | None:
    """What a layer does to each number, if it does the same to all; None if not.

    An activation; or a scale and a shift that are the same for all channels.
    """
    if layer.kind == "activation":
        return activation(layer.act) if layer.act.split(":")[0] in _FORMULAS else None
    if layer.kind == "affine" and len(np.unique(layer.weight)) == len(np.unique(layer.bias)) == 1:
        scale, shift, act = layer.weight.flat[0], layer.bias.flat[0], activation(layer.act)
        return lambda x: act(x * scale + shift)
    return None


def table(function: Function, source: Quantizer, target: Quantizer) -> np.ndarray:
    """target's byte of function(real) for each byte of source; int16 [256], as the plan stores it."""
    return target.bytes(function(source.real())).astype(np.int16)


def useful_inputs(act: str) -> tuple[float, float]:
    """The inputs that an activation tells apart; the bytes before it need not cover others."""
    name, *numbers = act.split(":")
    if name == "hard_sigmoid":
        slope, offset = map(float, numbers)
        return (-offset / slope, (1 - offset) / slope) if slope > 0 else (-np.inf, np.inf)
    if is_clamp(act):
        low, high = {"none": (-np.inf, np.inf), "relu": (0.0, np.inf), "relu6": (0.0, 6.0)}.get(name) or numbers
        return float(low), float(high)
    return _SATURATES.get(name, (-np.inf, np.inf))
