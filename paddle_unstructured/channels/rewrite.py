# SPDX-License-Identifier: Apache-2.0
"""A Program with fewer channels: stored tensors, the types of values and the attributes that count channels."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import numpy as np
import paddle
from paddle.base.libpaddle import pir

from ..graph.program import walk
from ..graph.values import TRANSPARENT, forward_uses, kind_of, numbers
from ..graph.weight_path import axes_after
from .trace import Trace

_Arrays = Mapping[str, np.ndarray]


def rewrite(trace: Trace, alive: np.ndarray, folds: _Arrays) -> None:
    """Take everything away that belongs to slots that are not alive.

    Args:
        trace: trace of the Program; the Program and its scope are changed in place.
        alive: which slots stay, bool [slots].
        folds: variable -> what is added to it first, in its own shape; of float32 or float64 variables.
    """
    graph = trace.graph
    taken: dict[str, dict[int, np.ndarray]] = {}
    for stored in trace.stored:
        taken.setdefault(stored.name, {})[stored.axis] = alive[stored.slots]
    arrays = {name: _array(graph, name, taken.get(name, {}), folds.get(name)) for name in {*taken, *folds}}
    shapes = [(label.at.value, label.at.axis, int(alive[label.slots].sum())) for label in trace.labels.values()]
    for name, kept in taken.items():
        counts = {axis: int(which.sum()) for axis, which in kept.items()}
        value = graph.persistable(name)
        _resize_param(value, tuple(range(len(value.shape))), counts)
    for value, axis, count in shapes:
        _resize(value, {axis: count})
    for op, slots in trace.depthwise:
        op.set_int_attr("groups", int(alive[slots].sum()))
    for op in list(walk(graph.program.global_block())):
        _adapt(graph.program, op)
    for name, array in arrays.items():
        graph.scope.find_var(name).get_tensor().set(array, graph.place)


def _array(graph: Any, name: str, kept: Mapping[int, np.ndarray], fold: np.ndarray | None) -> np.ndarray:
    array = np.array(graph.scope.find_var(name).get_tensor())  # bfloat16 stays as bits
    if fold is not None:
        array = (array.astype(np.float64) + fold.reshape(array.shape)).astype(array.dtype)
    for axis, which in kept.items():
        array = array.compress(which, axis)
    return np.asarray(array, order="C")


def _resize(value: Any, counts: Mapping[int, int]) -> None:
    """The same type with other extents, axis -> extent."""
    shape = list(value.shape)
    for axis, count in counts.items():
        shape[axis] = count
    if shape != list(value.shape):
        value.set_type(pir.create_shaped_type(value.type(), shape))


def _resize_param(value: Any, axes: Sequence[int], counts: Mapping[int, int]) -> None:
    """A parameter and what casts and reshapes make of it; axes: which stored axis each axis of the value is."""
    following = [
        (op, axes_after(op, kind_of(op), tuple(axes))) for op in forward_uses(value) if kind_of(op) in TRANSPARENT
    ]
    _resize(value, {i: counts[axis] for i, axis in enumerate(axes) if axis in counts})
    for op, after in following:
        _resize_param(op.result(0), after, counts)


def _adapt(program: Any, op: Any) -> None:
    """What follows from the types of an op's operands and results."""
    kind = kind_of(op)
    target = numbers(op.operand_source(1)) if kind == "reshape" else None
    if target is not None:
        before, after = op.operand_source(0).shape, list(op.result(0).shape)
        _set_numbers(program, op, [_extent(n, i, before, after[i]) for i, n in enumerate(target)])
    elif op.name() == "builtin.combine":
        _set_list(op.result(0), op.operands_source())
    elif op.name() == "builtin.split":
        given = op.operand_source(0)
        _set_list(given, op.results())
        producer = given.get_defining_op()
        axis = producer.operand_source(producer.num_operands() - 1).get_defining_op()
        sections = numbers(producer.operand_source(1)) if kind_of(producer) == "split" else None
        if axis is not None and sections is not None:
            i = int(axis.attrs()["value"])
            sizes = [n if n < 0 else piece.shape[i] for n, piece in zip(sections, op.results())]
            _set_numbers(program, producer, sizes)
    elif kind in ("batch_norm", "sync_batch_norm"):
        for result, operand in zip(op.results()[1:5], (1, 2, 3, 4)):
            _resize(result, {0: op.operand_source(operand).shape[0]})


def _extent(wanted: int, axis: int, before: Sequence[int], after: int) -> int:
    """A target extent of a reshape: -1 (what is left) and 0 (as before) stay, if they still say the same."""
    return wanted if wanted == -1 or (wanted == 0 and before[axis] == after) or after < 0 else after


def _set_list(value: Any, members: Sequence[Any]) -> None:
    value.set_type(pir.create_vec_type([member.type() for member in members]))


def _set_numbers(program: Any, op: Any, values: list[int]) -> None:
    """Operand 1, a constant list that other ops may share, becomes another one for this op."""
    if values == numbers(op.operand_source(1)):
        return
    old = op.operand_source(1).get_defining_op().attrs()
    with paddle.static.program_guard(program):
        pir.set_insertion_point(op)
        new = paddle._pir_ops.full_int_array(values, old["dtype"], old["place"])
        pir.reset_insertion_point_to_end()
    op.operand(1).set_source(new)
