# SPDX-License-Identifier: Apache-2.0
"""What a layer reads, and what it gives behind its bias, norm and activation; read off a Program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .base import WEIGHT_ROLES, Param
from .program import PirGraph

_FOLLOWED = {"pd_op.cast", "pd_op.scale", "pd_op.dropout"}  # and norms, and the addition of a bias
ACTIVATIONS = {
    "pd_op." + name
    for name in (
        "relu",
        "relu_",
        "relu6",
        "leaky_relu",
        "hardswish",
        "swish",
        "silu",
        "sigmoid",
        "hardsigmoid",
        "tanh",
        "gelu",
        "elu",
        "prelu",
    )
}
_CONVOLUTIONS = tuple(role for role in WEIGHT_ROLES if "conv" in role)


@dataclass(frozen=True)
class Activation:
    """What a layer reads or gives.

    Attributes:
        ops: The op that reads the weight; of an output, also those that follow it as parts of the layer.
        value: Where they are.
        axis: Where its channels are.
    """

    ops: tuple[Any, ...]
    value: Any
    axis: int


def activation(graph: PirGraph, param: Param, criterion: Any) -> Activation:
    """The layer's input or output, as the criterion's `source` says.

    Raises:
        ValueError: The weight is read inside a branch or a loop, or with other channels than its shape says.
    """
    reader = graph.reader(param)
    if graph.is_inner(reader):
        raise ValueError(
            f"{criterion!r} cannot watch {param.name}, which is read inside a branch or a loop; "
            "leave it out with `select`."
        )
    return (_input if criterion.source == "input" else _output)(graph, param, reader, criterion)


def _input(graph: PirGraph, param: Param, reader: Any, criterion: Any) -> Activation:
    value = reader.operand_source(0)
    axis = _channels(reader, param, value)
    known = can_read(param) and not reader.attrs().get("transpose_x", False)
    if not known or graph.is_made_of_params(value) or value.shape[axis] != param.inputs or not param.inputs:
        raise ValueError(
            f"{criterion!r} cannot watch {param.name}: what {param.reader} multiplies shape "
            f"{list(param.shape)} with is not followed; leave it out with `select`."
        )
    return Activation((reader,), value, axis)


def _output(graph: PirGraph, param: Param, reader: Any, criterion: Any) -> Activation:
    """Behind bias, norm and activation."""
    value = reader.result(0)
    axis = _channels(reader, param, value)
    if param.output_axis is None or value.shape[axis] != param.shape[param.output_axis]:
        raise ValueError(
            f"{criterion!r} cannot watch {param.name}: it gives {value.shape[axis]} channels "
            f"on axis {axis}, and shape {list(param.shape)} does not; leave it out with `select`."
        )
    ops = [reader]
    while True:
        following = [op for op in value.all_used_ops() if "_grad" not in op.name()]
        step = next((op for op in following if _follows(graph, op, value)), None)
        if step is None:
            return Activation(tuple(ops), value, axis)
        ops.append(step)
        value = step.result(0)
        if step.name() in ACTIVATIONS:
            return Activation(tuple(ops), value, axis)


def can_read(param: Param) -> bool:
    """Whether its op multiplies it with one input."""
    return param.role in ("linear", *_CONVOLUTIONS)


def _channels(reader: Any, param: Param, value: Any) -> int:
    """The axis of the channels of an op's input or output."""
    channels_first = param.role in _CONVOLUTIONS and not reader.attrs().get("data_format", "NCHW").endswith("C")
    return 1 if channels_first else len(value.shape) - 1


def _follows(graph: PirGraph, op: Any, value: Any) -> bool:
    """Whether the op is still part of the layer: a bias, a norm, dropout, or the activation."""
    if not op.operand_source(0).is_same(value):
        return False
    if op.name() in ("pd_op.add", "pd_op.add_"):
        return graph.is_made_of_params(op.operand_source(1))
    if op.name() == "pd_op.scale" and op.attrs()["bias"]:  # x - 1.0, where a loss begins say: its zeros are others
        return False
    return op.name() in _FOLLOWED | ACTIVATIONS or "norm" in op.name()
