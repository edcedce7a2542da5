# SPDX-License-Identifier: Apache-2.0
"""What quantization puts into a Program stands between two copies that bear one mark: to be skipped, or taken out.

A mark is the text of an op's `struct_name`, where Paddle writes the path of the Layer that made it: any op may have
that attribute, and it is among the few that Paddle writes into a file and reads again (3.0 to 3.3).
"""

from __future__ import annotations

from typing import Any, Callable

import paddle

_ATTRIBUTE = "struct_name"
_BEGIN, _END, _MOVES = "rounding begins", "rounding ends", "rounding range moves"
_LOSES = "rounding_loses_zeros"


def between_marks(value: Any, mark: str, build: Callable[[Any], Any], *, loses_zeros: str = "") -> Any:
    """`build(value)` of a Program, with marks around it.

    Args:
        value: what is rounded.
        mark: text that no other rounding of the Program has.
        build: from a value to the rounded one, at the insertion point.
        loses_zeros: reason why an exact zero of `value` does not stay one; empty if it does.
    """
    begin = paddle.assign(value)
    _mark(begin, _BEGIN, mark)
    end = paddle.assign(build(begin))
    _mark(end, _END, mark, loses_zeros)
    return end


def begins(op: Any) -> str:
    """The mark of the rounding that begins with an op, or ""."""
    return _marked(op, _BEGIN)[0]


def ends(op: Any) -> str:
    """The mark of the rounding that ends with an op, or ""."""
    return _marked(op, _END)[0]


def loses_zeros(op: Any) -> str:
    """Why zeros do not pass the rounding that ends with an op, or ""."""
    return _marked(op, _END)[1]


def mark_moving_range(written: Any) -> None:
    """Mark the op that writes the range of a batch into its variable and gives it on; `is_moving_range` finds it."""
    _mark(written, _MOVES, "yes")


def is_moving_range(op: Any) -> bool:
    return bool(_marked(op, _MOVES, "pd_op.assign_out_")[0])


def newest_range(range_: Any) -> Any:
    """The value that the variable of a range has at the end of a Program: Paddle takes two readings of one value for
    one, whatever has been written in between."""
    for op in range_.all_used_ops():
        if is_moving_range(op) and op.operand_source(1).is_same(range_):
            return newest_range(op.result(0))
    return range_


def range_variables(program: Any) -> list[str]:
    """Names of the variables that hold ranges; a rounding in such a range has its name for a mark."""
    ops = program.global_block().ops
    marks = {begins(op) for op in ops}
    held = [op.attrs()["name"] for op in ops if op.name() == "pd_op.data" and op.result(0).persistable]
    return [name for name in held if name in marks]


def note_lost_zeros(tensor: Any, why: str) -> None:
    """Note why zeros of a weight of an nn.Layer do not pass the rounding in its layer; "" if they do."""
    setattr(tensor, _LOSES, why)


def lost_zeros(tensor: Any) -> str:
    """What `note_lost_zeros` was told."""
    return str(getattr(tensor, _LOSES, ""))


def _mark(value: Any, word: str, mark: str, more: str = "") -> None:
    value.get_defining_op().set_str_attr(_ATTRIBUTE, "\t".join((word, mark, more)))


def _marked(op: Any, word: str, kind: str = "pd_op.assign") -> tuple[str, str]:
    """What `_mark` wrote under a word; ("", "") of other ops."""
    if op.name() != kind or not op.has_attr(_ATTRIBUTE):
        return "", ""
    found, *rest = str(op.str_attr(_ATTRIBUTE)).split("\t", 2)
    return (rest[0], rest[1]) if found == word and len(rest) == 2 else ("", "")
