# SPDX-License-Identifier: Apache-2.0
"""Where a Program is rounded: behind weights, behind inputs and outputs of layers; and how it is undone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import AbstractSet, Any, Callable, Mapping, Sequence

import numpy as np
import paddle
from paddle.base.libpaddle import pir

from ..channels.labels import key
from ..graph.activations import ACTIVATIONS
from ..graph.base import Param
from ..graph.program import PirGraph
from ..graph.roles import WEIGHT_ROUNDING
from ..graph.rounded import begins, ends
from ..graph.values import RESHAPES, exists, forward_uses, kind_of
from .quantizer_config import Rounding
from .quantizers import Quantizer

LAYERS = ("conv2d", "depthwise_conv2d", "linear")
_ROUNDING = "fake_quantize_dequantize_moving_average_abs_max"  # of activations; its input is clipped before
_KEPT_RANGE = {*RESHAPES, "transpose", "dropout"}  # and max pooling: what they give lies in the range of what they take


@dataclass(frozen=True)
class Point:
    """An activation that is rounded, or watched.

    Attributes:
        value: the activation.
        name: name of the variable [3] that holds its range.
        kind: "input" or "output", of a layer.
        how: the quantizer and its bits; None: it is only watched.
        readers: (op, operand) that read what is rounded; None: all that read the value.
        gradient: quantizer of the gradients that come back; None: they are not rounded.
    """

    value: Any
    name: str
    kind: str
    how: tuple[Quantizer, int] | None
    readers: tuple[tuple[Any, int], ...] | None = None
    gradient: Quantizer | None = None

    @property
    def needs_range(self) -> bool:
        return self.how is None or self.how[0].needs_range


def is_rounded(program: Any) -> bool:
    return any(ends(op) or kind_of(op) in (WEIGHT_ROUNDING, _ROUNDING) for op in program.global_block().ops)


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


def points(
    graph: PirGraph, params: Sequence[Param], how: Mapping[str, Rounding]
) -> tuple[list[Point], dict[str, tuple[Point | None, Point]]]:
    """The activations that the layers read and give.

    The output of a layer is that of its norm and activation; where nobody asked for it in so many words, it is not
    rounded if no other layer comes behind it. An input is rounded once for all that read it, if they agree.

    Returns:
        All points, and for each weight by name those of its input (None: it is not rounded) and its output.
    """
    inputs = {param.name: _origin(_activation(graph, param)) for param in params}
    outputs = {param.name: _output(graph, param) for param in params}
    before = _leading_to(graph.program, inputs.values())
    found: dict[Any, Point] = {}
    for name, value in outputs.items():
        asked, quantizer = how[name].at("output"), how[name].quantizer
        asked = asked if key(value) in before or (how[name].explicit and forward_uses(value)) else None
        gradient = None if quantizer.gradient_bits is None else quantizer
        found.setdefault(key(value), Point(value, name + "_output_range", "output", asked, gradient=gradient))
    wanted: dict[Any, set[tuple[Quantizer, int] | None]] = {}
    for name, value in inputs.items():
        wanted.setdefault(key(value), set()).add(how[name].at("input"))
    apart: dict[str, Point] = {}
    for param in params:
        name, value = param.name, inputs[param.name]
        asked, known = how[name].at("input"), found.get(key(value))
        if asked is None or (known is not None and known.how == asked):
            continue
        if len(wanted[key(value)]) > 1 or (known is not None and known.how is not None):
            apart[name] = _at_layer(graph, param, asked)
        elif known is None:
            found[key(value)] = Point(value, name + "_input_range", "input", asked)
        else:  # an output that was only watched
            found[key(value)] = replace(known, kind="input", how=asked)
    ends = {
        name: (
            None if how[name].at("input") is None else apart.get(name) or found[key(value)],
            found[key(outputs[name])],
        )
        for name, value in inputs.items()
    }
    return [*found.values(), *apart.values()], ends


def _at_layer(graph: PirGraph, param: Param, asked: tuple[Quantizer, int]) -> Point:
    """The input of one layer alone, where others read the same value in another way."""
    value, op = _activation(graph, param), graph.reader(param)
    operand = next(i for i, source in enumerate(op.operands_source()) if source.is_same(value))
    return Point(value, param.name + "_input_range", "input", asked, ((op, operand),))


def insert_behind(
    graph: PirGraph, value: Any, build: Callable[[Any], Any], readers: Sequence[tuple[Any, int]] | None = None
) -> None:
    """Let readers of a value, by default all present ones, read build(value); None leaves them as they are."""
    if readers is None:
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


def unrounded(program: Any, values: Sequence[Any], keep: AbstractSet[str] = frozenset()) -> tuple[Any, list[Any]]:
    """A copy of a Program that rounds nothing but what has a mark in `keep`, and what stands for some values there."""
    mapping = paddle.pir.IrMapping()
    copy, exact = program.clone(mapping), dict[Any, Any]()
    begin = {begins(op): op for op in copy.global_block().ops if begins(op)}
    for op in copy.global_block().ops:
        if ends(op) and ends(op) not in keep:
            source = begin[ends(op)].operand_source(0)
            exact[key(op.result(0))] = source
            op.result(0).replace_all_uses_with(source)
    found = []
    for value in map(mapping.look_up, values):
        while key(value) in exact:
            value = exact[key(value)]
        found.append(value)
    return copy, found


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
