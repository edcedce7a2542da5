# SPDX-License-Identifier: Apache-2.0
"""Values and ops of a PIR Program: who makes them, who reads them, and what small constants say."""

from __future__ import annotations

from typing import Any, Iterator, Sequence

from .op_facts import writes

RESHAPES = {"reshape", "flatten", "squeeze", "unsqueeze"}
RENAMES = {"cast", "assign", "share_data"}
TRANSPARENT = {*RENAMES, *RESHAPES}  # between a parameter and the op that uses it


def readers(value: Any) -> Iterator[Any]:
    """Forward ops that read a variable, directly or through casts and reshapes."""
    for op in forward_uses(value):
        if writes(op, value):
            continue
        if kind_of(op) in TRANSPARENT:
            yield from readers(op.result(0))
        else:
            yield op


def forward_uses(value: Any) -> list[Any]:
    return [op for op in value.all_used_ops() if "_grad" not in op.name()]


def through(value: Any, kinds: set[str]) -> Any:
    """The value that was cast or reshaped."""
    while exists(value) and kind_of(value.get_defining_op()) in kinds:
        value = value.get_defining_op().operand_source(0)
    return value


def exists(value: Any) -> bool:
    return value is not None and value.initialized()


def agree(shape: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two shapes may be one; an extent that a Program does not know is -1."""
    return len(shape) == len(other) and all(a == b or -1 in (a, b) for a, b in zip(shape, other))


def numbers(value: Any) -> list[int] | None:
    """The integers of a constant such as a shape or a list of axes; None if they are computed."""
    op = value.get_defining_op()
    return list(op.attrs()["value"]) if op is not None and op.name() == "pd_op.full_int_array" else None


def members(value: Any) -> list[Any]:
    """A list's members; any other value by itself."""
    producer = value.get_defining_op()
    return producer.operands_source() if producer is not None and producer.name() == "builtin.combine" else [value]


def is_constant(value: Any) -> bool:
    """One number, or the same one everywhere."""
    return all(extent == 1 for extent in value.shape) or kind_of(value.get_defining_op()) == "full"


def channel_axis(op: Any, value: Any) -> int:
    return len(value.shape) - 1 if op.attrs().get("data_format", "NCHW").endswith("C") else 1


def kind_of(op: Any) -> str:
    """pd_op.add_ -> add; arguments of a sub-block have no op."""
    return "" if op is None else op.name().split(".")[-1].rstrip("_")
