# SPDX-License-Identifier: Apache-2.0
"""What an optimizer has to do with a weight: variables of the same shape that it keeps, and regularisation."""

from __future__ import annotations

from typing import Any

from ..graph import PirGraph, TracedGraph
from ..graph.op_facts import taken, writers
from ..graph.values import exists, kind_of, through
from .ops import Fixed

_DECAY = {"scale", "sign", "cast", "combine", "add", "add_n"}  # regularisation, on its way to the optimizer


def companions(graph: PirGraph, name: str) -> list[str]:
    """Accumulators and masks: variables of the same shape that the writers of the variable take.

    Raises:
        Fixed: A writer takes something of its shape that is computed.
    """
    if isinstance(graph, TracedGraph):
        return graph.beside(name)
    value, found = graph.persistable(name), set()
    for op in writers(value):
        for slot, other in taken(op, value):
            if not _is_like(other, value) or other.is_same(value) or slot == "grad":
                continue
            if not through(other, {"cast"}).persistable:
                raise Fixed(f"{name}, which sees its outputs, is written by {op.name()}")
            found.add(through(other, {"cast"}).name)
    return sorted(found)


def decays(op: Any, value: Any, depth: int = 0) -> bool:
    """Whether the op is regularisation: all that becomes of its result is the optimizer's update of the variable."""
    if depth and op.id() in {writer.id() for writer in writers(value)}:
        return True
    following = op.result(0).all_used_ops() if kind_of(op) in _DECAY and depth < 6 else []
    return bool(following) and all(decays(after, value, depth + 1) for after in following)


def _is_like(other: Any, value: Any) -> bool:
    return exists(other) and other.is_dense_tensor_type() and list(other.shape) == list(value.shape)
