# SPDX-License-Identifier: Apache-2.0
"""Convolutions and pools, as ONNX nodes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .builder import Builder, Converter, Op, channels_first, known_axes, list_of, number, out, word


def _padding(op: Op) -> dict[str, Any]:
    """That of a window, which Paddle has as one number for each axis or as two."""
    algorithm, pads = word(op, "padding_algorithm", "EXPLICIT"), word(op, "paddings")
    if algorithm != "EXPLICIT":
        return {"auto_pad": {"SAME": "SAME_UPPER", "VALID": "VALID"}[algorithm]}
    axes = len(word(op, "strides"))
    return {"pads": [*pads, *pads] if len(pads) == axes else [*pads[::2], *pads[1::2]]}


def _conv(b: Builder, op: Op) -> None:
    channels_first(op)
    steps = {"strides": word(op, "strides"), "dilations": word(op, "dilations")}
    b.node("Conv", b.names(op)[:2], out(op), **_padding(op), **steps, group=word(op, "groups", 1))


def _conv_transpose(b: Builder, op: Op) -> None:
    channels_first(op)
    words: dict[str, Any] = {"strides": word(op, "strides"), "dilations": word(op, "dilations")}
    size = (b.numbers(op, 2) if len(op["I"]) > 2 else word(op, "output_size")) or []
    more = list(word(op, "output_padding") or [])
    if size:  # the last rows and columns of what would be larger
        kept, strides = _padding(op)["pads"], words["strides"]
        words |= {"pads": kept, "output_padding": [stride - 1 for stride in strides]}
        made = b.node("ConvTranspose", b.names(op)[:2], **words, group=word(op, "groups", 1))
        axes = [2 + i for i in range(len(size))]
        b.node("Slice", [*made, b.constant([0] * len(size)), b.constant(size), b.constant(axes)], out(op))
        return
    words |= {"output_padding": more} if more else {}
    b.node("ConvTranspose", b.names(op)[:2], out(op), **_padding(op), **words, group=word(op, "groups", 1))


def _pool(b: Builder, op: Op) -> None:
    channels_first(op)
    size = known_axes(b, op, 1) if len(op["I"]) > 1 else word(op, "kernel_size")
    average = word(op, "pooling_type") == "avg"
    if word(op, "global_pooling") or (word(op, "adaptive") and set(size) == {1}):
        b.node("GlobalAveragePool" if average else "GlobalMaxPool", b.names(op)[:1], out(op))
    elif word(op, "adaptive"):
        _adaptive(b, op, size, average=average)
    else:
        words = {"kernel_shape": size, "strides": word(op, "strides"), "ceil_mode": int(bool(word(op, "ceil_mode")))}
        if average:
            words["count_include_pad"] = int(not word(op, "exclusive", True))
        b.node("AveragePool" if average else "MaxPool", b.names(op)[:1], out(op), **_padding(op), **words)


def _adaptive(b: Builder, op: Op, size: list[int], *, average: bool) -> None:
    """Of planes whose size is fixed: axis by axis, each place by itself."""
    x, shape = b.names(op)[0], b.shape(op["I"][0]["%"])
    for axis, (extent, count) in enumerate(zip(shape[2:], size), 2):
        if extent < 0:
            raise ValueError("an adaptive pool of planes of open size")
        ends = [(i * extent // count, -(-(i + 1) * extent // count)) for i in range(count)]
        where = b.constant([axis])
        parts = [b.node("Slice", [x, b.constant([low]), b.constant([high]), where])[0] for low, high in ends]
        kind = "ReduceMean" if average else "ReduceMax"
        x = b.node("Concat", [b.node(kind, [part], axes=[axis], keepdims=1)[0] for part in parts], axis=axis)[0]
    b.node("Identity", [x], out(op)[:1])


def _pool_with_index(b: Builder, op: Op) -> None:
    """Paddle counts the places of a plane, ONNX those of the whole tensor."""
    if word(op, "adaptive"):
        _adaptive(b, op, word(op, "kernel_size"), average=False)  # nobody knows the places
        return
    words = {"kernel_shape": word(op, "kernel_size"), "strides": word(op, "strides"), **_padding(op)}
    x, (values, places) = b.names(op)[0], out(op)
    _, index = b.node("MaxPool", [x], [values, f"{places}_all"], ceil_mode=int(bool(word(op, "ceil_mode"))), **words)
    plane = b.node("ReduceProd", [b.dims(x, 2, b.rank(op["I"][0]["%"]))], keepdims=0)
    b.node("Cast", b.node("Mod", [index, *plane]), [places], to=number(b.dtype(op["O"][1]["%"])))


def _unpool(b: Builder, op: Op) -> None:
    channels_first(op)
    x, index, size = b.names(op)[0], b.cast(b.names(op)[1], "int64"), list_of(b, op, 2)
    first, flat = b.dims(x, 0, 2), b.constant([0, 0, -1])
    plane = b.node("ReduceProd", [size], keepdims=1)[0]
    zeros = b.node("Expand", [b.constant(0, b.dtype(op["I"][0]["%"])), *b.node("Concat", [first, plane], axis=0)])
    rows = [b.node("Reshape", [each, flat])[0] for each in (index, x)]
    made = b.node("ScatterElements", [*zeros, *rows], axis=2)
    b.node("Reshape", [*made, *b.node("Concat", [first, size], axis=0)], out(op))


def _one_each(channels: int, height: int, width: int) -> np.ndarray:
    """Filters that pick one place of a window each, for every channel."""
    count = height * width
    return np.tile(np.eye(count, dtype="float32").reshape(count, 1, height, width), (channels, 1, 1, 1))


def _unfold(b: Builder, op: Op) -> None:
    """Windows as columns."""
    channels, (height, width) = b.shape(op["I"][0]["%"])[1], word(op, "kernel_sizes")
    top, left, bottom, right = word(op, "paddings")
    words = {"strides": word(op, "strides"), "dilations": word(op, "dilations"), "pads": [top, left, bottom, right]}
    filters = b.constant(_one_each(channels, height, width), "float32")
    made = b.node("Conv", [b.names(op)[0], filters], group=channels, **words)
    b.node("Reshape", [*made, b.constant([0, channels * height * width, -1])], out(op))


def _fold(b: Builder, op: Op) -> None:
    """Columns as windows, which are added where they overlap."""
    (height, width), size = word(op, "kernel_sizes"), word(op, "output_sizes")
    channels = b.shape(op["I"][0]["%"])[1] // (height * width)
    top, left, bottom, right = word(op, "paddings")
    strides, dilations = word(op, "strides"), word(op, "dilations")
    sums, kernel = (top + bottom, left + right), (height, width)
    counts = [(size[i] + sums[i] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1 for i in (0, 1)]
    planes = b.node("Reshape", [b.names(op)[0], b.constant([0, channels * height * width, *counts])])[0]
    rest = [size[i] - ((counts[i] - 1) * strides[i] + dilations[i] * (kernel[i] - 1) + 1 - sums[i]) for i in (0, 1)]
    words = {"strides": strides, "dilations": dilations, "pads": [top, left, bottom, right], "output_padding": rest}
    filters = b.constant(_one_each(channels, height, width), "float32")
    b.node("ConvTranspose", [planes, filters], out(op), group=channels, **words)


CONVERTERS: dict[str, Converter] = {
    "conv2d": _conv,
    "depthwise_conv2d": _conv,
    "conv3d": _conv,
    "conv2d_transpose": _conv_transpose,
    "depthwise_conv2d_transpose": _conv_transpose,
    "conv3d_transpose": _conv_transpose,
    "pool2d": _pool,
    "pool3d": _pool,
    "max_pool2d_with_index": _pool_with_index,
    "unpool": _unpool,
    "unfold": _unfold,
    "fold": _fold,
}
