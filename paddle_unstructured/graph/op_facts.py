# SPDX-License-Identifier: Apache-2.0
"""One question about one PIR op: its kind, its operands, its constants, and what it writes."""

from __future__ import annotations

from typing import Any

import paddle

_LIST = "builtin.combine"


def kind_of(op: Any) -> str:
    """pd_op.add_ -> add."""
    return str(op.name().split(".")[-1].rstrip("_"))


def slots(op: Any) -> list[str]:
    """Names of an op's operands; none for ops without a yaml entry (builtin, custom)."""
    try:
        return list(op.get_input_names())
    except ValueError:
        return []


def slot_of(op: Any, value: Any) -> str:
    names, place = slots(op), operand_of(op, value)
    return names[place] if 0 <= place < len(names) else ""


def operand_of(op: Any, value: Any) -> int:
    return next((i for i, source in enumerate(op.operands_source()) if source.is_same(value)), -1)


def axis_of(op: Any, rank: int) -> int | None:
    """The axis of a split, concat, stack or unbind, as an attribute or a constant; None if it is computed."""
    attrs = op.attrs()
    if "axis" in attrs:
        return int(attrs["axis"]) % rank
    axis = op.operand_source(op.num_operands() - 1).get_defining_op()
    return int(axis.attrs()["value"]) % rank if axis is not None and axis.name() == "pd_op.full" else None


def numbers_of(value: Any) -> list[int] | None:
    op = value.get_defining_op()
    return list(op.attrs()["value"]) if op is not None and op.name() == "pd_op.full_int_array" else None


def taken_apart(values: Any) -> list[Any]:
    return [result for op in values.all_used_ops() if op.name() == "builtin.split" for result in op.results()]


def all_behind(value: Any) -> list[Any]:
    """A value and all that it is computed from."""
    waiting, found, seen = [value], [], set()
    while waiting:
        now = waiting.pop()
        op = now.get_defining_op()
        if op is not None and op.id() not in seen:
            seen.add(op.id())
            found.append(now)
            waiting += [source for source in op.operands_source() if source.initialized()]
    return found


def is_parameter(value: Any) -> bool:
    producer = value.get_defining_op()
    return producer is not None and producer.name() == "builtin.parameter"


def writes(op: Any, value: Any) -> bool:
    """Whether the op updates the value in place: an optimizer's update, an assignment, our own mask."""
    if not op.name().endswith("_") or "norm" in op.name():
        return False
    return operand_of(op, value) == (1 if op.name() == "pd_op.assign_out_" else 0)


def writers(value: Any) -> list[Any]:
    """The ops that update the value in place, by itself or in a list of values, as LARS takes them."""
    return [op for held in _and_lists(value) for op in held.all_used_ops() if writes(op, held)]


def trainers(value: Any) -> list[Any]:
    """Those of them that are an optimizer's update."""
    return [op for op in writers(value) if "grad" in slots(op)]


def taken(op: Any, value: Any) -> list[tuple[str, Any]]:
    """What a writer of the value takes for it, with the names of its operands: of lists what stands at its place."""
    names, operands = slots(op), op.operands_source()
    first = operands[0].get_defining_op()
    if first is not None and first.name() == _LIST and operand_of(op, value) < 0:
        at = operand_of(first, value)
        operands = [_member(operand, at) for operand in operands]
    return list(zip(names or [""] * len(operands), operands))


def _and_lists(value: Any) -> list[Any]:
    """The value, and the lists in which it is."""
    return [value, *(op.result(0) for op in value.all_used_ops() if op.name() == _LIST)]


def _member(operand: Any, at: int) -> Any:
    maker = operand.get_defining_op() if operand.initialized() else None
    return maker.operand_source(at) if maker is not None and maker.name() == _LIST else operand


def is_learning_rate(value: Any) -> bool:
    return any(slot_of(op, held) == "learning_rate" for held in _and_lists(value) for op in held.all_used_ops())


def overwrites(op: Any, value: Any) -> bool:
    return op.name() == "pd_op.assign_out_" and operand_of(op, value) == 1


def overwrites_another(op: Any, value: Any) -> bool:
    """Whether the op copies a parameter into another one, which is read in its stead."""
    copies = op.name() == "pd_op.assign_out_" and operand_of(op, value) == 0
    return copies and is_parameter(value) and is_parameter(op.operand_source(1))


def is_bookkeeping(op: Any, value: Any) -> bool:
    """Backward, optimizer and stack ops, and copies into one buffer: they do not say what a parameter is for."""
    return "_grad" in op.name() or op.name().startswith("cf.") or kind_of(op) == "coalesce_tensor" or writes(op, value)


def is_dequantization(op: Any) -> bool:
    """Whether the op is cast(int8 parameter) * scale, another parameter: a weight as `export.int8` stores it."""
    if op.name() != "pd_op.multiply":
        return False
    cast = op.operand_source(0).get_defining_op()
    if cast is None or cast.name() != "pd_op.cast" or not is_parameter(op.operand_source(1)):
        return False
    return cast.operand_source(0).dtype == paddle.int8 and is_parameter(cast.operand_source(0))
