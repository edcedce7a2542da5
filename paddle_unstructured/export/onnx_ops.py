# SPDX-License-Identifier: Apache-2.0
"""What paddle2onnx does not know, written in ops that it knows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle
from paddle.base.libpaddle.pir import reset_insertion_point_to_end

from ..graph.op_facts import kind_of
from ..saved_model import Model, open_model, read_fetches, save_model

_CONSTANTS = ("full", "assign_value", "assign_value_")


def save_for_onnx(model: Model, prefix: str) -> None:
    """Write the model as paddle2onnx reads most: `prefix`.json and `prefix`.pdiparams. The model is not changed."""
    save_model(model, prefix)
    if any(kind_of(op) in _KNOWN for op in model.program.global_block().ops):
        save_model(_rewritten(open_model(prefix, place=model.place)), prefix)
    file = Path(prefix + ".json")
    file.write_text(json.dumps(_with_floats(json.loads(file.read_text()))))


def _rewritten(model: Model) -> Model:
    """The model with each op of `_KNOWN` in ops of that; its Program is changed."""
    program = model.program
    for op in program.global_block().ops:
        write = _KNOWN.get(kind_of(op))
        if write is None:
            continue
        with paddle.static.program_guard(program):
            paddle.pir.set_insertion_point(op)
            written = write(op)
            reset_insertion_point_to_end()
        op.result(0).replace_all_uses_with(written)
        program.global_block().remove_op(op)
    return replace(model, fetches=read_fetches(program))


def _with_floats(node: Any) -> Any:
    """A Program's JSON with attributes of float64 as float32, the only ones that paddle2onnx reads; of resizing, say.

    A constant keeps its own.
    """
    if isinstance(node, list):
        return [_with_floats(each) for each in node]
    if not isinstance(node, dict) or str(node.get("#")).split(".")[-1] in _CONSTANTS:
        return node
    node = {key: _with_floats(each) for key, each in node.items()}
    return {**node, "#": "0.a_f32"} if node.get("#") == "0.a_f64" else node


def _channel_shuffle(op: Any) -> Any:
    """Channels [groups, channels / groups] in the order of the transpose."""
    axis = -1 if op.attrs()["data_format"] == "NHWC" else 1
    x, groups = op.operand_source(0), op.attrs()["groups"]
    order = np.arange(x.shape[axis]).reshape(groups, -1).T.ravel()
    return paddle.index_select(x, paddle.assign(order), axis % 4)


def _pixel_unshuffle(op: Any) -> Any:
    """A convolution with one weight for each output: row i, column j of channel c's window -> output c f² + i f + j."""
    x, factor = op.operand_source(0), op.attrs()["downscale_factor"]
    last = op.attrs()["data_format"] == "NHWC"
    x = paddle.transpose(x, [0, 3, 1, 2]) if last else x
    window = np.eye(factor * factor).reshape(-1, 1, factor, factor)
    weight = paddle.assign(np.tile(window, [x.shape[1], 1, 1, 1]).astype("float32")).astype(x.dtype)
    taken = paddle.nn.functional.conv2d(x, weight, stride=factor, groups=x.shape[1])
    return paddle.transpose(taken, [0, 2, 3, 1]) if last else taken


def _masked_fill(op: Any) -> Any:
    x, mask, value = (op.operand_source(i) for i in range(3))
    return paddle.where(mask, value.astype(x.dtype), x)


def _addmm(op: Any) -> Any:
    given, x, y = (op.operand_source(i) for i in range(3))
    return op.attrs()["beta"] * given + op.attrs()["alpha"] * paddle.matmul(x, y)


def _reduced(function: Callable[..., Any]) -> Callable[[Any], Any]:
    def write(op: Any) -> Any:
        attrs = op.attrs()
        return function(op.operand_source(0), list(attrs["axis"]) or None, attrs["keepdim"])

    return write


_KNOWN: dict[str, Callable[[Any], Any]] = {
    "channel_shuffle": _channel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "masked_fill": _masked_fill,
    "addmm": _addmm,
    "baddbmm": _addmm,
    "amax": _reduced(paddle.max),
    "amin": _reduced(paddle.min),
    "expm1": lambda op: paddle.exp(op.operand_source(0)) - 1.0,
    "celu": lambda op: _celu(op.operand_source(0), op.attrs()["alpha"]),
}


def _celu(x: Any, alpha: float) -> Any:
    """max(x, 0) + min(alpha (exp(x / alpha) - 1), 0)"""
    return paddle.nn.functional.relu(x) + paddle.clip(alpha * (paddle.exp(x / alpha) - 1.0), max=0.0)
