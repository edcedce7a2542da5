# SPDX-License-Identifier: Apache-2.0
"""One walk through a Program, training or inference: the channels of all layers, who lives and dies together."""

from __future__ import annotations

from typing import Any, Callable

from ..graph import PirGraph
from ..graph.program import walk
from ..graph.values import exists, forward_uses, kind_of, members, numbers, readers
from .constants import passed_on
from .consumers import CONVS, conv, matmul
from .joins import concat, join, split
from .labels import Stored
from .ops import JOINS, VECTORS, Fixed, Movable, behind, unknown
from .optimizer import decays
from .trace import Trace
from .vectors import layer_norm, norm, prelu


def follow_channels(graph: PirGraph) -> Trace:
    """Walk the Program once, front to back; gradients and updates of weights are passed over.

    Args:
        graph: graph of the Program, with its weights in the scope; both are only read.
    """
    trace = Trace(graph)
    for op in walk(graph.program.global_block()):
        if op.name() not in _LISTS and "_grad" not in op.name():
            _visit(trace, op)
    _settle(trace)
    return trace


def _visit(trace: Trace, op: Any) -> None:
    sources = [source for operand in op.operands_source() if exists(operand) for source in members(operand)]
    labels = [label for label in map(trace.label, sources) if label is not None]
    kind = kind_of(op)
    if not labels and kind not in _LAYERS:
        return
    try:
        _STEPS.get(kind, _pass)(trace, op)
    except Fixed as fixed:
        for label in labels:
            trace.units.pin(label.slots, str(fixed), movable=isinstance(fixed, Movable))


def _pass(trace: Trace, op: Any) -> None:
    label = trace.label(op.operand_source(0))
    if label is None or any(trace.label(other) is not None for other in op.operands_source()[1:]):
        raise unknown(op)
    if kind_of(op) == "reshape" and numbers(op.operand_source(1)) is None:
        raise Fixed(f"{op.name()} gives its outputs a shape that is computed")
    after = behind(op, label.at)
    trace.put(after, label.base, passed_on(op, label.at, after, label.constants))


def _shape(trace: Trace, op: Any) -> None:
    raise Movable("its shape is read")


def _fetch(trace: Trace, op: Any) -> None:
    raise Fixed("its outputs are fetched")


_LISTS = {"builtin.combine", "builtin.split"}  # handled with the op that takes or gives the list
_LAYERS = {**dict.fromkeys(CONVS, conv), "matmul": matmul}
_STEPS: dict[str, Callable[[Trace, Any], None]] = {
    **_LAYERS,
    **dict.fromkeys(JOINS, join),
    **dict.fromkeys(VECTORS, norm),
    **dict.fromkeys(("shape", "shape64", "full_like"), _shape),
    "concat": concat,
    "fetch": _fetch,
    "layer_norm": layer_norm,
    "prelu": prelu,
    "split": split,
    "split_with_num": split,
}


def _settle(trace: Trace) -> None:
    """Pin what leaves the Program, or what other readers of a variable see; join shared weights."""
    for label in trace.labels.values():
        if not forward_uses(label.at.value):
            trace.units.pin(label.slots, "its outputs leave the Program")
    first: dict[tuple[str, int], Stored] = {}
    for stored in trace.stored:
        trace.units.join(first.setdefault((stored.name, stored.axis), stored).slots, stored.slots)
        value = trace.values[stored.name]
        for op in readers(value):
            if op.id() not in trace.accounted[stored.name] and not decays(op, value):
                why = f"{stored.name}, which sees its outputs, is also read by {op.name()}"
                trace.units.pin(stored.slots, why)
