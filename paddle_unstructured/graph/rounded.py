# SPDX-License-Identifier: Apache-2.0
"""What quantization puts into a Program stands between two copies that bear one mark: to be skipped, or taken out."""

from __future__ import annotations

from typing import Any, Callable

import paddle

_BEGIN, _END, _LOSES = "rounding_begins", "rounding_ends", "rounding_loses_zeros"
_MOVES = "rounding_range_moves"


def between_marks(value: Any, mark: str, build: Callable[[Any], Any], *, loses_zeros: str = "") -> Any:
    """`build(value)` of a Program, with marks around it.

    Args:
        value: what is rounded.
        mark: text that no other rounding of the Program has.
        build: from a value to the rounded one, at the insertion point.
        loses_zeros: reason why an exact zero of `value` does not stay one; empty if it does.
    """
    begin = paddle.assign(value)
    begin.get_defining_op().set_str_attr(_BEGIN, mark)
    end = paddle.assign(build(begin))
    op = end.get_defining_op()
    op.set_str_attr(_END, mark)
    if loses_zeros:
        op.set_str_attr(_LOSES, loses_zeros)
    return end


def begins(op: Any) -> str:
    """The mark of the rounding that begins with an op, or ""."""
    return _attribute(op, _BEGIN)


def ends(op: Any) -> str:
    """The mark of the rounding that ends with an op, or ""."""
    return _attribute(op, _END)


def loses_zeros(op: Any) -> str:
    """Why zeros do not pass the rounding that ends with an op, or ""."""
    return _attribute(op, _LOSES)


def mark_moving_range(written: Any) -> None:
    """Mark the op that writes the range of a batch into its variable and gives it on; `is_moving_range` finds it."""
    written.get_defining_op().set_str_attr(_MOVES, "yes")


def is_moving_range(op: Any) -> bool:
    return bool(op.name() == "pd_op.assign_out_" and op.has_attr(_MOVES))


def newest_range(range_: Any) -> Any:
    """The value that the variable of a range has at the end of a Program: Paddle takes two readings of one value for
    one, whatever has been written in between."""
    for op in range_.all_used_ops():
        if is_moving_range(op) and op.operand_source(1).is_same(range_):
            return newest_range(op.result(0))
    return range_


def note_lost_zeros(tensor: Any, why: str) -> None:
    """Note why zeros of a weight of an nn.Layer do not pass the rounding in its layer; "" if they do."""
    setattr(tensor, _LOSES, why)


def lost_zeros(tensor: Any) -> str:
    """What `note_lost_zeros` was told."""
    return str(getattr(tensor, _LOSES, ""))


def _attribute(op: Any, name: str) -> str:
    return str(op.str_attr(name)) if op.name() == "pd_op.assign" and op.has_attr(name) else ""
