# SPDX-License-Identifier: Apache-2.0
"""What each op of Paddle is as a layer. An op that is not listed, or is used otherwise, is refused with a reason."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from .net import Layer, activate, affine
from .plan import Window
from .reader import Reader, Refusal


def _require(holds: Any, reason: str) -> None:
    if not holds:
        raise Refusal(reason)


def _attributes(op: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = op.attrs()
    _require(attributes.get("data_format", "NCHW") in ("NCHW", "AnyLayout"), "only NCHW is known")
    return attributes


def _shape(op: Any, i: int = 0) -> list[int]:
    return list(op.operand_source(i).shape)


def _is_vector(shape: list[int]) -> bool:
    return all(extent == 1 for extent in shape[2:])


def _pads(attributes: dict[str, Any]) -> tuple[int, int, int, int]:
    algorithm, pads = attributes.get("padding_algorithm", "EXPLICIT"), list(attributes["paddings"])
    if algorithm == "VALID":
        return 0, 0, 0, 0
    _require(algorithm == "EXPLICIT", f"padding_algorithm {algorithm} is not known")
    return tuple(pads) if len(pads) == 4 else (pads[0], pads[0], pads[1], pads[1])


def _conv(reader: Reader, op: Any) -> Layer:
    attributes, weight = _attributes(op), reader.constant(op, 1).astype(np.float64)
    window = Window(
        tuple(weight.shape[2:]), tuple(attributes["strides"]), _pads(attributes), tuple(attributes["dilations"])
    )
    return Layer(
        "conv", (reader.layer(op, 0),), reader.name(op, 1), weight, np.zeros(len(weight)), window, attributes["groups"]
    )


def _matmul(reader: Reader, op: Any) -> Layer:
    attributes, weight = op.attrs(), reader.constant(op, 1).astype(np.float64)
    _require(
        len(_shape(op)) == 2 and weight.ndim == 2 and not attributes["transpose_x"],
        f"only [n, inputs] times [inputs, outputs] is known, got {_shape(op)} times {list(weight.shape)}",
    )
    weight = (weight if attributes["transpose_y"] else weight.T)[:, :, None, None]
    return Layer("linear", (reader.layer(op, 0),), reader.name(op, 1), weight, np.zeros(len(weight)))


def _batch_norm(reader: Reader, op: Any) -> Layer:
    attributes = _attributes(op)
    _require(attributes.get("is_test") or attributes.get("use_global_stats"), "it is in training mode")
    mean, variance, scale, shift = (reader.constant(op, i).astype(np.float64) for i in (1, 2, 3, 4))
    scale = scale / np.sqrt(variance + attributes["epsilon"])
    return affine(reader.layer(op, 0), scale, shift - mean * scale, alone=reader.alone(op, 0))


def _per_channel(constant: np.ndarray, shape: list[int]) -> np.ndarray:
    """A constant as a number for each channel of an activation [n, channels, ...]."""
    constant = np.asarray(constant, np.float64)
    full = (1,) * (len(shape) - constant.ndim) + constant.shape
    spread = len(full) == len(shape) and all(extent == 1 for i, extent in enumerate(full) if i != 1)
    _require(
        spread and full[1] in (1, shape[1]),
        f"a constant of shape {list(constant.shape)} is not one number for each channel of {shape}",
    )
    return np.broadcast_to(constant.ravel(), (shape[1],))


def _with_constant(reader: Reader, op: Any, fold: Callable[[np.ndarray], tuple[Any, Any]]) -> Layer:
    i = 1 if reader.is_constant(op, 0) else 0
    numbers = _per_channel(reader.constant(op, 1 - i), _shape(op, i))
    return affine(reader.layer(op, i), *fold(numbers), alone=reader.alone(op, i))


def _add(reader: Reader, op: Any) -> Layer:
    if reader.is_constant(op, 0) or reader.is_constant(op, 1):
        return _with_constant(reader, op, lambda numbers: (np.ones(len(numbers)), numbers))
    _require(_shape(op, 0) == _shape(op, 1), f"a sum of {_shape(op, 0)} and {_shape(op, 1)} is not known")
    return Layer("add", (reader.layer(op, 0), reader.layer(op, 1)))


def _multiply(reader: Reader, op: Any) -> Layer:
    if reader.is_constant(op, 0) or reader.is_constant(op, 1):
        return _with_constant(reader, op, lambda numbers: (numbers, np.zeros(len(numbers))))
    a, b = _shape(op, 0), _shape(op, 1)
    _require(
        a == b or (len(a) == len(b) and a[1] == b[1] and (_is_vector(a) or _is_vector(b))),
        f"a product of {a} and {b} is not known",
    )
    return Layer("multiply", (reader.layer(op, 0), reader.layer(op, 1)))


def _scale(reader: Reader, op: Any) -> Layer:
    attributes, factor = op.attrs(), float(reader.constant(op, 1).ravel()[0])
    shift = attributes["bias"] if attributes.get("bias_after_scale", True) else attributes["bias"] * factor
    channels = _shape(op)[1]
    return affine(reader.layer(op, 0), np.full(channels, factor), np.full(channels, shift), alone=reader.alone(op, 0))


def _activation(word: Callable[[Reader, Any], str]) -> Callable[[Reader, Any], Layer]:
    return lambda reader, op: activate(reader.layer(op, 0), word(reader, op), alone=reader.alone(op, 0))


def _clip(reader: Reader, op: Any) -> str:
    return f"clamp:{float(reader.constant(op, 1).ravel()[0])!r}:{float(reader.constant(op, 2).ravel()[0])!r}"


def _hard_sigmoid(reader: Reader, op: Any) -> str:
    return f"hard_sigmoid:{float(op.attrs()['slope'])!r}:{float(op.attrs()['offset'])!r}"


def _leaky_relu(reader: Reader, op: Any) -> str:
    return f"leaky_relu:{float(op.attrs()['negative_slope'])!r}"


def _gelu(reader: Reader, op: Any) -> str:
    _require(not op.attrs().get("approximate"), "only the exact gelu is known")
    return "gelu"


def _pool(reader: Reader, op: Any) -> Layer:
    attributes, source = _attributes(op), reader.layer(op, 0)
    average, size = attributes["pooling_type"] == "avg", [int(extent) for extent in reader.constant(op, 1).ravel()]
    if attributes["global_pooling"] or (attributes["adaptive"] and size == [1, 1]):
        return _global_pool(source, average, _shape(op))
    if attributes["adaptive"]:
        return _adaptive_pool(source, attributes["pooling_type"], size, _shape(op))
    pads = _pads(attributes)
    _require(
        average is False or attributes["exclusive"] or (pads[0] == pads[1] and pads[2] == pads[3]),
        "a mean over uneven padding is not known",
    )
    return _pool_layer(
        source,
        attributes["pooling_type"],
        Window((size[0], size[1]), tuple(attributes["strides"]), pads),
        ceil=attributes["ceil_mode"],
        exclusive=attributes["exclusive"],
    )


def _pool_layer(source: Layer, kind: str, window: Window, *, ceil: bool = False, exclusive: bool = True) -> Layer:
    return Layer("pool", (source,), window=window, words={"type": kind, "ceil": int(ceil), "exclusive": int(exclusive)})


def _global_pool(source: Layer, average: bool, shape: list[int]) -> Layer:
    if average:
        return Layer("global_pool", (source,))
    _require(0 < min(shape[2:]) and max(shape[2:]) <= 31, f"a maximum over the whole plane of {shape} is not known")
    return _pool_layer(source, "max", Window((shape[2], shape[3])))


def _adaptive_pool(source: Layer, kind: str, size: list[int], shape: list[int]) -> Layer:
    _require(
        min(shape[2:]) > 0 and shape[2] % size[0] == 0 and shape[3] % size[1] == 0,
        f"adaptive pooling of {shape} to {size} is known only where the sizes are fixed and divide",
    )
    steps = shape[2] // size[0], shape[3] // size[1]
    return _pool_layer(source, kind, Window(steps, steps))


def _mean(reader: Reader, op: Any) -> Layer:
    axes = sorted(int(axis) % 4 for axis in reader.constant(op, 1).ravel())
    _require(len(_shape(op)) == 4 and axes == [2, 3], "only a mean over height and width is known")
    return Layer("global_pool", (reader.layer(op, 0),))


def _flatten(reader: Reader, op: Any) -> Layer:
    """Flatten, reshape, squeeze or unsqueeze of an activation: to or from a plain vector."""
    before, after = _shape(op), list(op.result(0).shape)
    source = reader.layer(op, 0)
    if _is_vector(before) and _is_vector(after) and before[1] == after[1]:
        return source
    attributes, whole = op.attrs(), len(before) - 1
    flat = (attributes.get("start_axis"), attributes.get("stop_axis")) in ((1, whole), (1, -1))
    _require(
        len(after) == 2 and (flat or (min(before[1:]) > 0 and after[1] == int(np.prod(before[1:])))),
        f"from {before} to {after}: only vectors [n, values] are known",
    )
    return Layer("flatten", (source,))


def _concat(reader: Reader, op: Any) -> Layer:
    found, axis = reader.operand(op, 0), int(reader.constant(op, 1).ravel()[0])
    parts = found if isinstance(found, tuple) else ()
    rank = len(op.result(0).shape)
    _require(axis % rank == 1, f"only channels can be concatenated, got axis {axis}")
    _require(all(isinstance(part, Layer) for part in parts), "a constant cannot be concatenated")
    return Layer("concat", tuple(parts))


def _softmax(reader: Reader, op: Any) -> Layer:
    shape = _shape(op)
    _require(len(shape) == 2 and op.attrs()["axis"] in (-1, 1), f"only vectors are known, got {shape}")
    return Layer("softmax", (reader.layer(op, 0),))


def _dropout(reader: Reader, op: Any) -> Layer:
    attributes = op.attrs()
    _require(attributes["is_test"], "it is in training mode")
    if attributes["mode"] == "upscale_in_train":
        return reader.layer(op, 0)
    kept, channels = 1.0 - float(reader.constant(op, 2).ravel()[0]), _shape(op)[1]
    return affine(reader.layer(op, 0), np.full(channels, kept), np.zeros(channels), alone=reader.alone(op, 0))


OPS: dict[str, Callable[[Any, Any], Layer]] = {
    "conv2d": _conv,
    "depthwise_conv2d": _conv,
    "matmul": _matmul,
    "batch_norm_": _batch_norm,
    "batch_norm": _batch_norm,
    "add": _add,
    "multiply": _multiply,
    "scale": _scale,
    "scale_": _scale,
    "relu": _activation(lambda reader, op: "relu"),
    "relu_": _activation(lambda reader, op: "relu"),
    "relu6": _activation(lambda reader, op: "relu6"),
    "hardswish": _activation(lambda reader, op: "hard_swish"),
    "hardsigmoid": _activation(_hard_sigmoid),
    "sigmoid": _activation(lambda reader, op: "sigmoid"),
    "silu": _activation(lambda reader, op: "swish"),
    "swish": _activation(lambda reader, op: "swish"),
    "leaky_relu": _activation(_leaky_relu),
    "tanh": _activation(lambda reader, op: "tanh"),
    "gelu": _activation(_gelu),
    "clip": _activation(_clip),
    "pool2d": _pool,
    "mean": _mean,
    "flatten": _flatten,
    "reshape": _flatten,
    "squeeze": _flatten,
    "unsqueeze": _flatten,
    "concat": _concat,
    "softmax": _softmax,
    "dropout": _dropout,
    "assign": lambda reader, op: reader.layer(op, 0),
}
