"""How layers are followed: convolutions and products sum over channels, depthwise convolutions keep them apart."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..graph.values import channel_axis, forward_uses, kind_of
from .ops import Carrier, Fixed, is_tested, unknown
from .slots import Label, Reading, Sink, weighed

if TYPE_CHECKING:
    from .trace import Flow


def conv(flow: Flow, op: Any) -> None:
    label, filters = flow.label(op.operand_source(0)), op.operand_source(1)
    name, groups = flow.source(filters), int(op.attrs()["groups"])
    transposed = kind_of(op) == "conv2d_transpose"
    stored = list(flow.values[name].shape) if name else []
    if name is None or stored[:2] != list(filters.shape)[:2]:
        raise unknown(op)
    if label is not None and label.at.axis != channel_axis(op, label.at.value):
        raise unknown(op)
    if groups > 1:
        return _grouped(flow, op, name, label, groups, transposed)
    taps = flow.graph.array(name).reshape(*stored[:2], -1)
    axis = channel_axis(op, op.result(0))
    _layer(
        flow,
        op,
        name,
        label,
        taps.swapaxes(0, 1) if transposed else taps,
        axis,
        axes=(1, 0) if transposed else (0, 1),
        padded=transposed or _is_padded(op),
    )


def matmul(flow: Flow, op: Any) -> None:
    label, weight = flow.label(op.operand_source(0)), op.operand_source(1)
    name, attrs = flow.source(weight), op.attrs()
    if name is None or len(weight.shape) != 2 or list(weight.shape) != list(flow.values[name].shape):
        raise unknown(op)
    if attrs["transpose_x"] or (label is not None and label.at.axis != len(label.at.value.shape) - 1):
        raise unknown(op)
    taps = flow.graph.array(name)
    _layer(
        flow,
        op,
        name,
        label,
        (taps if attrs["transpose_y"] else taps.T)[:, :, None],
        len(op.result(0).shape) - 1,
        axes=(0, 1) if attrs["transpose_y"] else (1, 0),
        padded=False,
    )


def _layer(
    flow: Flow,
    op: Any,
    name: str,
    label: Label | None,
    taps: np.ndarray,
    axis: int,
    *,
    axes: tuple[int, int],
    padded: bool,
) -> None:
    """taps: [outputs, inputs, window]; axes: where outputs and inputs are stored."""
    outputs = flow.units.new(len(taps))
    constants = np.full(taps.shape[1], np.nan) if label is None else label.constants
    flow.store(op, name, axes[0], outputs)
    flow.layers[name] = outputs
    if label is not None:
        flow.store(op, name, axes[1], label.slots)
        sink = _sink(flow, op.result(0), axis, len(taps))
        flow.readings.append(
            Reading(name, axes, taps, label.slots, outputs, constants, padded, sink, flow.is_alone(name))
        )
    flow.put(Carrier(op.result(0), axis, len(taps)), outputs, weighed(taps, constants, padded))


def _grouped(flow: Flow, op: Any, name: str, label: Label | None, groups: int, transposed: bool) -> None:
    """A depthwise convolution keeps channels apart; any other in groups is not followed."""
    if label is None or groups != label.at.extent or transposed:
        flow.refused[name] = "it is a convolution in groups, whose inputs are not followed"
        raise Fixed("a grouped convolution reads its outputs")
    each = op.result(0).shape[label.at.axis] // groups  # outputs per input
    at = replace(label.at, value=op.result(0), inner=label.at.inner * each)
    taps = flow.graph.array(name).reshape(at.extent, 1, -1)
    before = np.repeat(label.constants, each)
    constants = np.array([weighed(t[None], c[None], _is_padded(op))[0] for t, c in zip(taps, before)])
    flow.put(at, label.base, constants)
    after = Label(at, label.base, constants)
    flow.store(op, name, 0, after.slots)
    flow.layers[name] = after.slots
    flow.depthwise.append((op, label.slots))


def _sink(flow: Flow, value: Any, axis: int, outputs: int) -> Sink | None:
    """The bias or norm that all outputs go through next, if it is theirs alone."""
    rank = len(value.shape)
    for _ in range(2):
        uses = forward_uses(value)
        kind = kind_of(uses[0]) if len(uses) == 1 else ""
        if kind not in ("add", "batch_norm") or len(uses[0].result(0).shape) != rank:
            return None
        op = uses[0]
        other = op.operand_source(1) if op.operand_source(0).is_same(value) else op.operand_source(0)
        name = flow.source(other)
        if name is not None and flow.is_alone(name) and _is_vector(op, other, outputs, axis):
            return Sink(name, 1 if kind == "add" else -1)
        if kind == "batch_norm" or other.is_same(value):
            return None
        value = op.result(0)  # another addend does not change what is constant in this one
    return None


def _is_vector(op: Any, other: Any, outputs: int, axis: int) -> bool:
    """Whether an op adds a number per channel (a bias), or subtracts one (a norm's mean)."""
    if kind_of(op) == "batch_norm":
        return is_tested(op) and channel_axis(op, op.result(0)) == axis and list(other.shape) == [outputs]
    place = len(other.shape) - (len(op.result(0).shape) - axis)
    return prod(other.shape) == outputs and place >= 0 and other.shape[place] == outputs


def _is_padded(op: Any) -> bool:
    attrs, window = op.attrs(), op.operand_source(1).shape[2:]
    if attrs["padding_algorithm"] == "SAME":
        return prod(window) > 1
    return attrs["padding_algorithm"] != "VALID" and any(attrs["paddings"])
