# SPDX-License-Identifier: Apache-2.0
"""Where gradients of a net begin: its answers, or what stands before them that depends smoothly on weights."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Sequence

import paddle
from paddle.base import core

from ..graph.splice import is_input, is_variable
from ..graph.values import exists, kind_of

_SOFTMAX = {"softmax", "log_softmax"}
_LAST = {*_SOFTMAX, "sigmoid"}  # flat where they are sure of themselves; what they read is looked at
_LISTS = ("builtin.combine", "builtin.split")
# Paddle has no gradient of an rnn's state alone, and one of a maximum takes the square of the time of its extents.
_OPAQUE = {"rnn", "max", "min", "amax", "amin"}
# How many values these give depends on what they read: those of two nets cannot be compared, nor what is made of them.
_CHOOSING = {"masked_select", "nonzero", "unique", "unique_consecutive", "nms", "multiclass_nms3", "matrix_nms"}
_FLOATS = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True, eq=False)
class End:
    """A value of the net that stands for its answers.

    Attributes:
        value: it.
        axis: along which its numbers are those of classes, of which one is right: that of the softmax that reads it, or
            1 of answers [n, k]; None: of none.
    """

    value: Any
    axis: int | None

    @classmethod
    def of(cls, value: Any, reader: Any = None) -> End:
        """Of what the op `reader` reads, or of what is returned."""
        shape, axis = value.shape, None
        if reader is not None and kind_of(reader) in _SOFTMAX:
            axis = int(reader.attrs()["axis"]) % len(shape)
        elif len(shape) == 2:
            axis = 1
        return cls(value, None if axis is None or shape[axis] == 1 else axis)


def ends_of(program: Any, values: Sequence[Any], fetches: Sequence[Any]) -> list[End]:
    """Let gradients through from where they are asked for to the net's outputs, or as far as ops have any.

    Args:
        program: an inference Program.
        values: parameters, or what ops of it make.
        fetches: its outputs.

    Returns:
        The ends: what an op without a gradient reads, or one that chooses among values, what a last softmax or sigmoid
        reads, and what is returned.
    """
    asked, returned = {value.id for value in values}, {value.id for value in fetches}
    reached, ends = {value.id for value in values if is_variable(value.get_defining_op())}, dict[str, End]()
    chosen = set[str]()  # values of which there may be more or fewer in another net
    for value in values:
        value.stop_gradient = False
    for op in program.global_block().ops:
        if is_input(op) or is_variable(op):
            continue
        reads = [value for value in _operands(op) if value.id in reached]
        last = kind_of(op) in _LAST and op.result(0).id in returned
        smooth = (core.has_vjp(op) or op.name() in _LISTS) and not last
        smooth = smooth and not list(op.blocks()) and kind_of(op) not in _OPAQUE
        if kind_of(op) in _CHOOSING or any(value.id in chosen for value in _operands(op)):
            chosen.update(value.id for value in op.results())
            smooth = False
        for value in op.results():
            let_through = value.id in asked or (bool(reads) and smooth and _is_float(value))
            value.stop_gradient = not let_through
            if let_through:
                reached.add(value.id)
        if reads and not smooth:
            ends.update(
                {v.id: End.of(v, op if last else None) for v in reads if v.is_dense_tensor_type() and _is_float(v)}
            )
    ends.update({value.id: End.of(value) for value in fetches if value.id in reached})
    return list(ends.values())


def gradients(ends: Sequence[Any], values: Sequence[Any], given: Sequence[Any] | None = None) -> list[Any]:
    """Paddle's, None of a value that no end depends on; without its remark, to the root logger, that there is one."""
    root = logging.getLogger()
    root.addFilter(_of_use)
    try:
        found: list[Any] = paddle.static.gradients(ends, values, target_gradients=given)
    finally:
        root.removeFilter(_of_use)
    return found


def _of_use(record: logging.LogRecord) -> bool:
    return "has no use" not in record.getMessage()


def _operands(op: Any) -> list[Any]:
    return [value for value in op.operands_source() if exists(value)]


def _is_float(value: Any) -> bool:
    return not value.is_dense_tensor_type() or str(value.dtype).rsplit(".", 1)[-1].lower() in _FLOATS
