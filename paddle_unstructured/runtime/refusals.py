# SPDX-License-Identifier: Apache-2.0
"""What the runtime refuses, op by op: how often, why, and the share of the net's arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Iterable, Sequence

from ..reporting.table import aligned


class Refusal(ValueError):
    """A net, or ops of it, that the runtime cannot run; the message is the reason.

    Args:
        reason: message.
        ops: what is refused, op by op, if the whole net has been looked at.
    """

    def __init__(self, reason: str, ops: tuple[RefusedOp, ...] = ()) -> None:
        super().__init__(reason)
        self.ops = ops


@dataclass(frozen=True)
class RefusedOp:
    """An op that the runtime cannot run, for one reason.

    Attributes:
        op: kind of the op, "conv3d" say.
        why: reason of the refusal.
        count: how many there are.
        share: fraction of the net's multiply-adds that they do, in [0, 1]; open sizes count as 1.
    """

    op: str
    why: str
    count: int
    share: float


def counted(refused: Sequence[tuple[Any, str]], ops: Iterable[Any]) -> tuple[RefusedOp, ...]:
    """The refusals by op and reason, those with the most arithmetic first.

    Args:
        refused: pairs of an op of the Program and the reason.
        ops: all ops of the Program.
    """
    total = sum(map(multiply_adds, ops)) or 1
    groups: dict[tuple[str, str], list[int]] = {}
    for op, why in refused:
        groups.setdefault((kind_of(op), why), []).append(multiply_adds(op))
    found = [RefusedOp(kind, why, len(work), sum(work) / total) for (kind, why), work in groups.items()]
    return tuple(sorted(found, key=lambda one: -one.share))


def table(refused: Sequence[RefusedOp]) -> str:
    """The refusals for people."""
    rows = [(one.op, str(one.count), f"{one.share:.1%}", one.why) for one in refused]
    count, share = sum(one.count for one in refused), sum(one.share for one in refused)
    total = ("total", str(count), f"{share:.1%}", "")
    said = f"Because of them the other {1 - share:.1%} of the multiply-adds stay with Paddle, too."
    return aligned(("refused op", "count", "multiply-adds", "why"), rows, [total], numbers=(1, 2)) + f"\n{said}"


def _of_chain(shapes: list[list[int]]) -> int:
    """Of a product of several matrices, from the left."""
    rows, inner = shapes[0][:-1], shapes[0][-1:]
    total = 0
    for shape in shapes[1:]:
        total += _elements([*rows, *inner, *shape[1:]])
        inner = shape[1:]
    return total


def kind_of(op: Any) -> str:
    """The op's name without its dialect."""
    return str(op.name().split(".")[-1])


def multiply_adds(op: Any) -> int:
    """Multiply-adds of a convolution, a matrix product or a recurrent layer; 0 of any other op.

    A convolution: outputs * (inputs / groups) * kernel; a transposed one the same with its inputs in place of its
    outputs; a product: outputs * the extent that it sums over; a recurrent layer: steps * all its weights.
    """
    kind = kind_of(op)
    if "conv" in kind:
        one = op.operand_source(0) if "transpose" in kind else op.result(0)
        return _elements(one.shape) * _elements(op.operand_source(1).shape[1:])
    if kind in ("matmul", "mul", "bmm", "mv"):
        shape, attributes = list(op.operand_source(0).shape), op.attrs()
        summed = shape[-2 if attributes.get("transpose_x") and len(shape) > 1 else -1] if shape else 1
        return _elements(op.result(0).shape) * max(1, summed)
    if kind in ("addmm", "baddbmm"):
        return _elements(op.result(0).shape) * _elements(op.operand_source(1).shape[-1:])
    if kind == "bilinear":
        return _elements(op.result(0).shape) * _elements(op.operand_source(2).shape[1:])
    if kind == "multi_dot":
        return _of_chain([list(one.shape) for one in op.operand_source(0).get_defining_op().operands_source()])
    if kind == "einsum":
        terms = str(op.attrs()["equation"]).replace(" ", "").split("->")[0].split(",")
        given = op.operand_source(0).get_defining_op().operands_source()
        extents = {letter: extent for term, one in zip(terms, given) for letter, extent in zip(term, one.shape)}
        return _elements(list(extents.values()))
    if kind == "rnn":
        weights = op.operand_source(2).get_defining_op().operands_source()
        return _elements(op.result(0).shape[:-1]) * sum(_elements(one.shape) for one in weights if len(one.shape) == 2)
    return 0


def _elements(shape: Sequence[int]) -> int:
    return prod(max(1, extent) for extent in shape)
