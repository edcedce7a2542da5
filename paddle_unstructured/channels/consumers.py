# SPDX-License-Identifier: Apache-2.0
"""How layers are followed: convolutions and products sum over channels, depthwise convolutions keep them apart."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from ..graph.values import channel_axis, forward_uses, kind_of
from .constants import weighed
from .labels import Carrier, Label, Reading, Sink
from .ops import Fixed, is_tested, unknown
from .trace import Trace

CONVS = (
    "conv2d",
    "conv2d_transpose",
    "conv3d",
    "conv3d_transpose",
    "depthwise_conv2d",
    "depthwise_conv2d_transpose",
)


def conv(trace: Trace, op: Any) -> None:
    filters = op.operand_source(1)
    name, groups = trace.source(filters), int(op.attrs()["groups"])
    transposed = kind_of(op).endswith("transpose")
    stored = list(trace.values[name].shape) if name else []
    if name is None or stored[:2] != list(filters.shape)[:2]:
        raise unknown(op)
    label = _read(trace, op, channel_axis(op, op.operand_source(0)))
    if groups > 1:
        return _grouped(trace, op, name, label, groups, transposed)
    taps = trace.graph.array(name).reshape(*stored[:2], -1)
    axis = channel_axis(op, op.result(0))
    _layer(
        trace,
        op,
        name,
        label,
        taps.swapaxes(0, 1) if transposed else taps,
        axis,
        axes=(1, 0) if transposed else (0, 1),
        padded=transposed or _is_padded(op),
    )


def matmul(trace: Trace, op: Any) -> None:
    weight, attrs = op.operand_source(1), op.attrs()
    name = trace.source(weight)
    if name is None or len(weight.shape) != 2 or list(weight.shape) != list(trace.values[name].shape):
        raise unknown(op)
    label = _read(trace, op, None if attrs["transpose_x"] else len(op.operand_source(0).shape) - 1)
    taps = trace.graph.array(name)
    _layer(
        trace,
        op,
        name,
        label,
        (taps if attrs["transpose_y"] else taps.T)[:, :, None],
        len(op.result(0).shape) - 1,
        axes=(0, 1) if attrs["transpose_y"] else (1, 0),
        padded=False,
    )


def _read(trace: Trace, op: Any, axis: int | None) -> Label | None:
    """The channels that a layer sums over; those that it sees in another way stay, and its outputs are followed."""
    label = trace.label(op.operand_source(0))
    if label is None or label.at.axis == axis:
        return label
    trace.units.pin(label.slots, str(unknown(op)))
    return None


def _layer(
    trace: Trace,
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
    outputs = trace.units.new(len(taps))
    constants = np.full(taps.shape[1], np.nan) if label is None else label.constants
    trace.store(op, name, axes[0], outputs)
    trace.layers[name] = outputs
    if label is not None:
        trace.store(op, name, axes[1], label.slots)
        sink = _sink(trace, op.result(0), axis, len(taps))
        trace.readings.append(
            Reading(name, axes, taps, label.slots, outputs, constants, padded, sink, trace.is_alone(name))
        )
    trace.put(Carrier(op.result(0), axis, len(taps)), outputs, weighed(taps, constants, padded))


def _grouped(trace: Trace, op: Any, name: str, label: Label | None, groups: int, transposed: bool) -> None:
    """A depthwise convolution keeps channels apart; any other in groups is not followed."""
    each = op.result(0).shape[channel_axis(op, op.result(0))] // groups  # outputs per input
    if label is None or groups != label.at.extent or (transposed and each > 1):
        trace.refused[name] = "it is a convolution in groups, whose inputs are not followed"
        raise Fixed("a grouped convolution reads its outputs")
    at = replace(label.at, value=op.result(0), inner=label.at.inner * each)
    taps = trace.graph.array(name).reshape(at.extent, 1, -1)
    before = np.repeat(label.constants, each)
    padded = transposed or _is_padded(op)
    constants = np.array([weighed(t[None], c[None], padded)[0] for t, c in zip(taps, before)])
    trace.put(at, label.base, constants)
    after = Label(at, label.base, constants)
    trace.store(op, name, 0, after.slots)
    trace.layers[name] = after.slots
    trace.depthwise.append((op, label.slots))


def _sink(trace: Trace, value: Any, axis: int, outputs: int) -> Sink | None:
    """The bias or norm that all outputs go through next, if it is theirs alone."""
    rank = len(value.shape)
    for _ in range(2):
        uses = forward_uses(value)
        kind = kind_of(uses[0]) if len(uses) == 1 else ""
        if kind not in ("add", "batch_norm") or len(uses[0].result(0).shape) != rank:
            return None
        op = uses[0]
        other = op.operand_source(1) if op.operand_source(0).is_same(value) else op.operand_source(0)
        name = trace.source(other)
        if name is not None and trace.is_alone(name) and _is_vector(op, other, outputs, axis):
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
        return bool(prod(window) > 1)
    return bool(attrs["padding_algorithm"] != "VALID" and any(attrs["paddings"]))
