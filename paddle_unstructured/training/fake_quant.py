# SPDX-License-Identifier: Apache-2.0
"""Where a Program is rounded: behind weights, behind inputs and outputs of layers; and how it is undone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import AbstractSet as Set
from typing import Any, Callable, Iterator, Mapping, Sequence

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
    """An activation that is rounded, or watched, or whose gradient is rounded on its way back.

    Attributes:
        value: the activation.
        name: name of the variable [3] that holds its range.
        kind: "input" or "output" of a layer, or "gradient".
        how: the quantizer and its bits; None: it is only watched.
        readers: (op, operand) that read what is rounded; None: all that read the value.
    """

    value: Any
    name: str
    kind: str
    how: tuple[Quantizer, int] | None
    readers: tuple[tuple[Any, int], ...] | None = None

    @property
    def needs_range(self) -> bool:
        return self.how is None or (self.kind != "gradient" and self.how[0].needs_range)


@dataclass(frozen=True)
class _Use:
    """One op that computes with a weight: a shared one has several.

    Attributes:
        param, how: the weight and its rounding.
        name: name of the weight, with the number of the use from the second on.
        op, operand: the op, and which of its operands the activation is.
        origin: the activation whose range the input has.
        output: what the layer gives, behind its bias, norm and activation.
    """

    param: Param
    how: Rounding
    name: str
    op: Any
    operand: int
    origin: Any
    output: Any


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
    readers = graph.readers(param)
    if any(map(graph.is_inner, readers)):
        return "it is read inside a branch or a loop"
    if param.through:
        return f"it passes {param.through} on its way to its layer, and int8 kernels read stored weights"
    given = [(op, _activation(graph, op)) for op in readers]
    if any(operand is None for _, operand in given):
        return "it is multiplied by another parameter"
    for op, operand in given:
        value = op.operand_source(operand)
        if not value.is_dense_tensor_type():
            return f"{op.name()} reads it in a list of tensors; write the product as matmul to have it rounded"
        if value.dtype != paddle.float32:
            return f"its layer computes in {value.dtype}; build a net that rounds without auto_cast"
    return ""


def points(
    graph: PirGraph, params: Sequence[Param], how: Mapping[str, Rounding], left: Sequence[Param] = ()
) -> tuple[list[Point], dict[str, tuple[list[str], list[Point]]]]:
    """The activations that the layers read and give, in the order in which they are to be put in.

    The output of a layer is that of its norm and activation; where nobody asked for it in so many words, it is not
    rounded if no other layer comes behind it, or if int8 kernels give it to layers alone that are not in int8: `left`
    are those that stay in float32. What int8 kernels read is rounded once for all that read it, if they agree, and
    before max pooling; any other input only where a layer that asks for it reads it.

    Returns:
        All points, and for each weight by name the ranges of its inputs (none: they are not rounded) and the points of
        its outputs, one for each op that computes with it.
    """
    uses = [use for param in params for use in _uses(graph, param, how[param.name])]
    found = _outputs(graph, uses, {op.id() for param in left for op in graph.readers(param)})
    wanted: dict[Any, set[tuple[Quantizer, int] | None]] = {}
    for use in uses:
        wanted.setdefault(key(use.origin), set()).add(use.how.at("input"))
    apart: dict[Any, Point] = {}
    inputs: dict[str, list[str]] = {param.name: [] for param in params}
    for use in uses:
        asked, place = use.how.at("input"), key(use.origin)
        if asked is None:
            continue
        known = found.get(place)
        if known is None or known.how != asked:
            is_free = known is None or known.how is None
            if use.how.is_int8 and is_free and len(wanted[place]) == 1:
                name = use.name + "_input_range" if known is None else known.name  # an output that was only watched
                known = found[place] = Point(use.origin, name, "input", asked)
            else:
                known = _at_layer(apart, use, asked)
        inputs[use.param.name].append(known.name)
    outputs = {param.name: [found[key(use.output)] for use in uses if use.param is param] for param in params}
    return [*found.values(), *apart.values(), *_gates(graph, uses)], {
        param.name: (inputs[param.name], outputs[param.name]) for param in params
    }


def _uses(graph: PirGraph, param: Param, how: Rounding) -> Iterator[_Use]:
    for i, op in enumerate(graph.readers(param)):
        name = param.name if i == 0 else f"{param.name}_{i + 1}"
        operand = _activation(graph, op)
        assert operand is not None, "why_not has looked"
        origin = _origin(op.operand_source(operand))
        yield _Use(param, how, name, op, operand, origin, _output(graph, op.result(0)))


def _outputs(graph: PirGraph, uses: Sequence[_Use], left: Set[int]) -> dict[Any, Point]:
    """What layers give, by key; `left` are the ops of layers that stay in float32."""
    before = _leading_to(graph.program, [use.origin for use in uses])
    others = left | {use.op.id() for use in uses if not use.how.is_int8}
    found: dict[Any, Point] = {}
    for use in uses:
        is_asked = key(use.output) in before and not (use.how.is_int8 and _is_for(use.output, others))
        is_asked = is_asked or (use.how.explicit and bool(forward_uses(use.output)))
        asked = use.how.at("output") if is_asked else None
        found.setdefault(key(use.output), Point(use.output, use.name + "_output_range", "output", asked))
    return found


def _is_for(value: Any, layers: Set[int]) -> bool:
    """Whether these ops alone read a value, in whatever shape."""
    uses = forward_uses(value)
    return bool(uses) and all(op.id() in layers or (_keeps_range(op) and _is_for(op.result(0), layers)) for op in uses)


def _at_layer(apart: dict[Any, Point], use: _Use, asked: tuple[Quantizer, int]) -> Point:
    """The input where this layer reads it, and others that ask for the same."""
    value = use.op.operand_source(use.operand)
    known = apart.get((key(value), asked)) or Point(value, use.name + "_input_range", "input", asked, ())
    known = replace(known, readers=(*(known.readers or ()), (use.op, use.operand)))
    apart[key(value), asked] = known
    return known


def _gates(graph: PirGraph, uses: Sequence[_Use]) -> list[Point]:
    """What layers give behind their bias, where gradients are rounded on their way back."""
    found = []
    for use in uses:
        bits = use.how.quantizer.gradient_bits
        if bits is not None:
            value = _output(graph, use.op.result(0), bias_only=True)
            found.append(Point(value, use.name, "gradient", (use.how.quantizer, bits)))
    return found


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
        try:
            result = build(value)
        finally:
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


def unrounded(program: Any, values: Sequence[Any], keep: Mapping[str, Callable[[Any], Any]]) -> tuple[Any, list[Any]]:
    """A copy of a Program for export, and what stands for some values there.

    Args:
        program: the Program.
        values: some of its values.
        keep: marks of the roundings that are part of the model, and what builds each anew, with a range that stands
            still; all others are taken out.
    """
    mapping = paddle.pir.IrMapping()
    copy, exact = program.clone(mapping), dict[Any, Any]()
    begin = {begins(op): op for op in copy.global_block().ops if begins(op)}
    for op in copy.global_block().ops:
        if ends(op):
            value = begin[ends(op)].operand_source(0)
            if ends(op) in keep:
                with paddle.static.program_guard(copy, paddle.static.Program()):
                    paddle.pir.set_insertion_point_after(op)
                    value = keep[ends(op)](value)
                    pir.reset_insertion_point_to_end()
            exact[key(op.result(0))] = value
            op.result(0).replace_all_uses_with(value)
    found = []
    for value in map(mapping.look_up, values):
        while key(value) in exact:
            value = exact[key(value)]
        found.append(value)
    return copy, found


def _activation(graph: PirGraph, op: Any) -> int | None:
    """Which operand of a layer's op is its activation; None if all are made of parameters."""
    first = 1 if kind_of(op) in ("addmm", "baddbmm") else 0  # behind what is added
    for i, value in enumerate(op.operands_source()[first : first + 2], first):
        if exists(value) and not graph.is_made_of_params(value):
            return i
    return None


def _origin(value: Any) -> Any:
    """The activation whose range a layer's input has: rounding that once is enough."""
    op = value.get_defining_op()
    while _keeps_range(op):
        value = op.operand_source(0)
        op = value.get_defining_op()
    return value


def _keeps_range(op: Any) -> bool:
    return kind_of(op) in _KEPT_RANGE or (kind_of(op) == "pool2d" and op.attrs()["pooling_type"] == "max")


def _output(graph: PirGraph, value: Any, *, bias_only: bool = False) -> Any:
    """What a layer gives whose op gives a value: behind its bias, norm and activation, or behind its bias alone."""
    while (op := _behind(value)) is not None:
        is_bias = kind_of(op) == "add" and graph.is_made_of_params(op.operand_source(1))
        if op.name() in ACTIVATIONS and not bias_only:
            return op.result(0)
        if not (is_bias or ("norm" in op.name() and not bias_only)):
            return value
        value = op.result(0)
        if bias_only:
            return value
    return value


def _behind(value: Any) -> Any:
    """The one op that reads a value, or what reshapes leave of it; None if there are several."""
    following = forward_uses(value)
    if len(following) != 1 or not following[0].operand_source(0).is_same(value):
        return None
    op = following[0]
    return _behind(op.result(0)) if kind_of(op) in RESHAPES else op


def _leading_to(program: Any, values: Any) -> set[Any]:
    """Keys of these values and of all that they are computed from."""
    wanted = {key(value) for value in values}
    for op in reversed(program.global_block().ops):
        if any(key(result) in wanted for result in op.results()):
            wanted |= {key(value) for value in op.operands_source() if exists(value)}
    return wanted
