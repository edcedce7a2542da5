# SPDX-License-Identifier: Apache-2.0
"""Ops with a number for each channel: norms and PReLU."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any, Sequence

import numpy as np

from ..graph.values import channel_axis, exists, forward_uses, is_constant, kind_of
from .constants import along, result_of
from .labels import Label
from .ops import VECTORS, is_tested, unknown
from .trace import Trace


def norm(trace: Trace, op: Any) -> None:
    label = trace.label(op.operand_source(0))
    if label is None or label.at.axis != channel_axis(op, label.at.value):
        raise unknown(op)
    if any(forward_uses(result) for result in op.results()[1:]):
        raise unknown(op)
    if not is_tested(op):
        trace.units.pin(label.slots, f"{op.name()} is not in test mode", movable=True)
        label = replace(label, constants=np.full(label.at.extent, np.nan))
    _scaled(trace, op, label, VECTORS[kind_of(op)])


def layer_norm(trace: Trace, op: Any) -> None:
    """Over the channels and nothing else: they may change places, but each counts in the mean."""
    label = trace.label(op.operand_source(0))
    if label is None or not label.at.axis == op.attrs()["begin_norm_axis"] == len(label.at.value.shape) - 1:
        raise unknown(op)
    if any(forward_uses(result) for result in op.results()[1:]):
        raise unknown(op)
    trace.units.pin(label.slots, str(unknown(op)), movable=True)
    _scaled(trace, op, replace(label, constants=np.full(label.at.extent, np.nan)), (1, 2))


def prelu(trace: Trace, op: Any) -> None:
    label = trace.label(op.operand_source(0))
    one_for_all = prod(op.operand_source(1).shape) == 1
    in_channels = (
        label is not None and op.attrs()["mode"] == "channel" and label.at.axis == channel_axis(op, label.at.value)
    )
    if label is None or not (in_channels or one_for_all):
        raise unknown(op)
    _scaled(trace, op, label, () if one_for_all else (1,), (1,) if one_for_all else ())


def _scaled(trace: Trace, op: Any, label: Label, vectors: Sequence[int], others: Sequence[int] = ()) -> None:
    """Behind an op whose operands `vectors` hold a number per channel, and `others` one for all."""
    given = {0: along(label.constants, len(label.at.value.shape), label.at.axis)}
    for operand in [*vectors, *others]:
        value = op.operand_source(operand)
        if not exists(value):
            continue
        name = trace.source(value)
        if name is None and is_constant(value):
            trace.units.pin(label.slots, str(unknown(op)), movable=True)
            continue
        if name is None:
            raise unknown(op)
        if operand in vectors:
            trace.store(op, name, trace.only_axis(op, name, value, label.at.extent), label.slots)
        given[operand] = trace.graph.array(name).reshape(value.shape)
    trace.put(replace(label.at, value=op.result(0)), label.base, result_of(op, given, label.constants))
