# SPDX-License-Identifier: Apache-2.0
"""Where a Program is rounded to 8 bits: behind weights, behind inputs and outputs of layers; and how it is undone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Sequence

import numpy as np
import paddle
from paddle.base.libpaddle import pir

from ..channels.labels import key
from ..graph.activations import ACTIVATIONS
from ..graph.base import Param
from ..graph.program import PirGraph
from ..graph.roles import WEIGHT_ROUNDING
from ..graph.values import RESHAPES, exists, forward_uses, kind_of

LAYERS = ("conv2d", "depthwise_conv2d", "linear")
_ROUNDING = "fake_quantize_dequantize_moving_average_abs_max"  # of activations; its input is clipped before
_KEPT_RANGE = {*RESHAPES, "transpose", "dropout"}  # and max pooling: what they give lies in the range of what they take


@dataclass(frozen=True)
class Point:
    """An activation, and the name of the variable [3] that holds its range."""

    value: Any
    name: str
    rounded: bool


def is_rounded(program: Any) -> bool:
    return any(kind_of(op) in (WEIGHT_ROUNDING, _ROUNDING) for op in program.global_block().ops)


def why_not(graph: PirGraph, param: Param) -> str:
    """Why a weight stays as it is, or ""."""
    if param.role not in LAYERS:
        return f"it is {param.role}, and int8 kernels are for {', '.join(LAYERS)}"
    if param.dtype != "float32":
        return f"dtype {param.dtype}"
    if param.output_axis not in (0, 1):
        return "its output channels are not on one of the first two axes"
    if graph.is_inner(graph.reader(param)):
        return "it is read inside a branch or a loop"
    if param.through:
        return f"it passes {param.through} on its way to its layer, and int8 kernels read stored weights"
    return "" if exists(_activation(graph, param)) else "it is multiplied by another parameter"


def points(graph: PirGraph, params: Sequence[Param]) -> tuple[dict[Any, Point], dict[str, tuple[Point, Point]]]:
    """The activations that the layers read and give.

    The output of a layer is that of its norm and activation, and is not rounded if no other layer comes behind it.

    Returns:
        All points, by `key`, and for each weight by name those of its input and its output.
    """
    inputs = {param.name: _origin(_activation(graph, param)) for param in params}
    outputs = {param.name: _output(graph, param) for param in params}
    before = _leading_to(graph.program, inputs.values())
    found: dict[Any, Point] = {}
    for name, value in outputs.items():
        found.setdefault(key(value), Point(value, name + "_output_range", key(value) in before))
    for name, value in inputs.items():
        found.setdefault(key(value), Point(value, name + "_input_range", True))
    return found, {param.name: (found[key(inputs[param.name])], found[key(outputs[param.name])]) for param in params}


def insert_behind(graph: PirGraph, value: Any, build: Callable[[Any], Any]) -> None:
    """Let all present readers of a value read build(value) instead; None leaves them as they are."""
    readers = [
        (op, i)
        for op in value.all_used_ops()
        for i, operand in enumerate(op.operands_source())
        if operand.is_same(value)
    ]
    with paddle.static.program_guard(graph.program, paddle.static.Program()):
        paddle.pir.set_insertion_point_after(value.get_defining_op())
        result = build(value)
        pir.reset_insertion_point_to_end()
    for op, i in readers if result is not None else ():
        op.operand(i).set_source(result)


def range_variable(graph: PirGraph, point: Point) -> Any:
    """The variable that holds a range, as a value at the insertion point; without a batch so far it is zero."""
    if not graph.is_initialized(point.name):
        graph.store(point.name, np.zeros(3, "float32"))
    value = paddle._pir_ops.data(point.name, [3], paddle.float32, paddle.base.core.Place())
    value.persistable = True
    return value


def unrounded(program: Any, values: Sequence[Any]) -> tuple[Any, list[Any]]:
    """A copy of a Program that rounds nothing, and what stands for some values there."""
    mapping = paddle.pir.IrMapping()
    copy = program.clone(mapping)
    for op in copy.global_block().ops:
        if kind_of(op) in (WEIGHT_ROUNDING, _ROUNDING):
            op.result(0).replace_all_uses_with(_exact(op.result(0)))
    return copy, [_exact(mapping.look_up(value)) for value in values]


def _exact(value: Any) -> Any:
    """The value before rounding, if it is a rounded one."""
    op = value.get_defining_op()
    if kind_of(op) == WEIGHT_ROUNDING:
        return op.operand_source(0)
    return op.operand_source(0).get_defining_op().operand_source(0) if kind_of(op) == _ROUNDING else value


def _activation(graph: PirGraph, param: Param) -> Any:
    """What the layer of a weight reads; None if that is a parameter too."""
    operands = graph.reader(param).operands_source()[:2]
    return next((value for value in operands if not graph.is_made_of_params(value)), None)


def _origin(value: Any) -> Any:
    """The activation whose range a layer's input has: rounding that once is enough."""
    op = value.get_defining_op()
    while kind_of(op) in _KEPT_RANGE or (kind_of(op) == "pool2d" and op.attrs()["pooling_type"] == "max"):
        value = op.operand_source(0)
        op = value.get_defining_op()
    return value


def _output(graph: PirGraph, param: Param) -> Any:
    """What the layer gives, behind its bias, norm and activation."""
    value = graph.reader(param).result(0)
    while True:
        following = forward_uses(value)
        if len(following) != 1 or not following[0].operand_source(0).is_same(value):
            return value
        op = following[0]
        if op.name() in ACTIVATIONS:
            return op.result(0)
        if not ("norm" in op.name() or kind_of(op) == "add" and graph.is_made_of_params(op.operand_source(1))):
            return value
        value = op.result(0)


def _leading_to(program: Any, values: Any) -> set[Any]:
    """Keys of these values and of all that they are computed from."""
    wanted = {key(value) for value in values}
    for op in reversed(program.global_block().ops):
        if any(key(result) in wanted for result in op.results()):
            wanted |= {key(value) for value in op.operands_source() if exists(value)}
    return wanted
