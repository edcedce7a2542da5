# SPDX-License-Identifier: Apache-2.0
"""Where activations meet and part: additions and other joins, concatenation, splits."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from ..graph.values import forward_uses, is_constant, kind_of, members, numbers
from .constants import along, result_of
from .labels import Carrier, Label
from .ops import Fixed, unknown
from .trace import Trace


def join(trace: Trace, op: Any) -> None:
    rank = len(op.result(0).shape)
    operands = [op.operand_source(0), op.operand_source(1)]
    labels = [trace.label(operand) for operand in operands]
    known = [label for label in labels if label is not None]
    axes = {(label.at.axis + rank - len(label.at.value.shape), label.at.extent) for label in known}
    if len(axes) > 1:
        raise Fixed(f"{op.name()} joins its outputs with other axes")
    ((axis, extent),) = axes
    if len(known) == 2:
        constants = [label.constants for label in known]
        trace.units.join(known[0].slots, known[1].slots)
    else:
        constants = [
            _beside(trace, op, operand, axis, extent, rank, known[0]) if label is None else label.constants
            for operand, label in zip(operands, labels)
        ]
    given = {i: along(c, rank, axis) for i, c in enumerate(constants)}
    result = result_of(op, given, constants[0] + constants[1])
    if kind_of(op) == "multiply":  # zero times anything
        result = np.where((constants[0] == 0) | (constants[1] == 0), 0.0, result)
    at = replace(known[0].at, value=op.result(0), axis=axis)
    trace.put(at, known[0].base, result)


def _beside(trace: Trace, op: Any, other: Any, axis: int, extent: int, rank: int, label: Label) -> np.ndarray:
    """Constants of an operand that has no label: a parameter, or what is the same for all channels."""
    met = axis - (rank - len(other.shape))
    name = trace.source(other)
    if met < 0 or other.shape[met] == 1:
        if name is not None and prod(other.shape) == 1:
            return np.full(extent, trace.graph.array(name).item())
        full = other.get_defining_op()
        same = full is not None and full.name() == "pd_op.full"
        return np.full(extent, full.attrs()["value"] if same else np.nan)
    if name is None and is_constant(other):
        trace.units.pin(label.slots, str(unknown(op)), movable=True)
        return np.full(extent, other.get_defining_op().attrs()["value"])
    if name is None:
        what = "are added to" if kind_of(op) == "add" else f"are joined by {op.name()} with"
        raise Fixed(f"its outputs {what} other activations")
    if prod(other.shape) == extent:
        trace.store(op, name, trace.only_axis(op, name, other, extent), label.slots)
        return trace.graph.array(name).astype(np.float64).ravel()
    if not other.is_same(trace.values[name]):
        raise unknown(op)
    trace.store(op, name, met, label.slots)
    return np.full(extent, np.nan)


def concat(trace: Trace, op: Any) -> None:
    values = members(op.operand_source(0))
    given = op.operand_source(1).get_defining_op()
    labels = [trace.label(value) for value in values]
    rank = len(op.result(0).shape)
    if given is None or given.name() != "pd_op.full":
        raise unknown(op)
    along_axis = int(given.attrs()["value"]) % rank
    axes = {label.at.axis for label in labels if label is not None}
    if axes != {along_axis}:
        raise Fixed(f"{op.name()} joins its outputs along another axis")
    parts = [_part(trace, value, label, along_axis) for value, label in zip(values, labels)]
    slots, constants = (np.concatenate(part) for part in zip(*parts))
    trace.put(Carrier(op.result(0), along_axis, len(slots)), slots, constants)


def _part(trace: Trace, value: Any, label: Label | None, axis: int) -> tuple[np.ndarray, np.ndarray]:
    if label is not None:
        return label.slots, label.constants
    extent = value.shape[axis]
    if extent < 0:
        raise Fixed("its outputs are concatenated with an unknown number of channels")
    slots = trace.units.new(extent)
    trace.units.pin(slots, "it is not the output of a layer that is followed")
    return slots, np.full(extent, np.nan)


def split(trace: Trace, op: Any) -> None:
    label, axis = trace.label(op.operand_source(0)), op.operand_source(op.num_operands() - 1).get_defining_op()
    takers = forward_uses(op.result(0))
    if label is None or axis is None or axis.name() != "pd_op.full" or [t.name() for t in takers] != ["builtin.split"]:
        raise unknown(op)
    pieces = takers[0].results()
    if int(axis.attrs()["value"]) % len(label.at.value.shape) != label.at.axis:
        for piece in pieces:
            trace.put(replace(label.at, value=piece), label.base, label.constants)
        return
    ends = np.cumsum([piece.shape[label.at.axis] for piece in pieces])
    parts = list(zip(pieces, np.split(label.slots, ends[:-1]), np.split(label.constants, ends[:-1])))
    if kind_of(op) == "split_with_num":  # equal parts stay equal
        for _, slots, _ in parts[1:]:
            trace.units.join(parts[0][1], slots)
    elif numbers(op.operand_source(1)) is None:
        raise unknown(op)
    for piece, slots, constants in parts:
        if len(slots) == 1:
            trace.units.pin(slots, "it is the only channel of its part")
        trace.put(Carrier(piece, label.at.axis, len(slots)), slots, constants)
