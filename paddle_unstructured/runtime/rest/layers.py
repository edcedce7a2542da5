# SPDX-License-Identifier: Apache-2.0
"""Convolutions, pools, norms and products, as ONNX nodes."""

from __future__ import annotations

from typing import Any

from .builder import Builder, Converter, Op, known_axes, out, word


def _matmul(b: Builder, op: Op) -> None:
    inputs = b.names(op)
    for i, side in enumerate(("transpose_x", "transpose_y")):
        if word(op, side):
            rank = b.rank(op["I"][i]["%"])
            order = [*range(rank - 2), rank - 1, rank - 2]
            inputs[i] = b.node("Transpose", [inputs[i]], perm=order)[0]
    b.node("MatMul", inputs, out(op))


def _einsum(b: Builder, op: Op) -> None:
    b.node("Einsum", b.lists[op["I"][0]["%"]], out(op)[:1], equation=word(op, "equation").replace(" ", ""))


def _padding(op: Op) -> dict[str, Any]:
    """That of a window."""
    algorithm, pads = word(op, "padding_algorithm", "EXPLICIT"), word(op, "paddings")
    if algorithm != "EXPLICIT":
        return {"auto_pad": {"SAME": "SAME_UPPER", "VALID": "VALID"}[algorithm]}
    pads = [pads[0], pads[0], pads[1], pads[1]] if len(pads) == 2 else pads
    return {"pads": [pads[0], pads[2], pads[1], pads[3]]}


def _conv(b: Builder, op: Op) -> None:
    if word(op, "data_format", "NCHW") not in ("NCHW", "AnyLayout"):
        raise ValueError("only NCHW is known")
    steps = {"strides": word(op, "strides"), "dilations": word(op, "dilations")}
    b.node("Conv", b.names(op), out(op), **_padding(op), **steps, group=word(op, "groups", 1))


def _pool(b: Builder, op: Op) -> None:
    if word(op, "data_format", "NCHW") not in ("NCHW", "AnyLayout"):
        raise ValueError("only NCHW is known")
    size, average = known_axes(b, op, 1), word(op, "pooling_type") == "avg"
    if word(op, "global_pooling") or (word(op, "adaptive") and size == [1, 1]):
        b.node("GlobalAveragePool" if average else "GlobalMaxPool", b.names(op)[:1], out(op))
        return
    if word(op, "adaptive"):
        raise ValueError("an adaptive pool to another size than 1 is not known")
    words = {"kernel_shape": size, "strides": word(op, "strides"), "ceil_mode": int(bool(word(op, "ceil_mode")))}
    if average:
        words["count_include_pad"] = int(not word(op, "exclusive", True))
    b.node("AveragePool" if average else "MaxPool", b.names(op)[:1], out(op), **_padding(op), **words)


def _batch_norm(b: Builder, op: Op) -> None:
    x, mean, variance, scale, shift = b.names(op)[:5]
    b.node("BatchNormalization", [x, scale, shift, mean, variance], out(op)[:1], epsilon=word(op, "epsilon"))


def _layer_norm(b: Builder, op: Op) -> None:
    names = [b.name(one["%"]) for one in op["I"] if one["%"] in b.types or one["%"] in b.known]
    if len(names) < 2:
        raise ValueError("one without a scale is not known")
    words = {"axis": word(op, "begin_norm_axis"), "epsilon": word(op, "epsilon")}
    b.node("LayerNormalization", names, out(op)[:1], **words)


CONVERTERS: dict[str, Converter] = {
    "matmul": _matmul,
    "einsum": _einsum,
    "conv2d": _conv,
    "depthwise_conv2d": _conv,
    "pool2d": _pool,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
}
