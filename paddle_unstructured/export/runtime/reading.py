"""From a PIR inference Program to layers, op by op."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Union

import numpy as np

from ...graph.carriers import exists
from ..model import Model
from .constants import is_constant_maker, make_constant
from .layers import Layer
from .ops import OPS, Refusal

Symbol = Union[Layer, np.ndarray, tuple]


@dataclass
class Net:
    """What a Program computes.

    Attributes:
        input: Its one input.
        outputs: With the rank of each.
    """

    input: Layer
    outputs: list[tuple[Layer, int]]


@dataclass
class Reader:
    """Goes through the ops of a Program; `values` knows what every value is that has been reached."""

    model: Model
    values: dict[int, Symbol] = field(default_factory=dict)

    def symbol(self, value: Any) -> Symbol:
        return self.values[value.id]

    def operand(self, op: Any, i: int) -> Symbol:
        return self.values[op.operand_source(i).id]

    def layer(self, op: Any, i: int) -> Layer:
        """An operand that is an activation."""
        found = self.operand(op, i)
        if not isinstance(found, Layer):
            raise Refusal("an activation is expected where the Program has a constant")
        return found

    def constant(self, op: Any, i: int) -> np.ndarray:
        """An operand that no input reaches."""
        found = self.operand(op, i)
        if not isinstance(found, np.ndarray):
            raise Refusal("a weight or number is expected where the Program computes it from its input")
        return found

    def is_constant(self, op: Any, i: int) -> bool:
        return isinstance(self.operand(op, i), np.ndarray)

    def alone(self, op: Any, i: int) -> bool:
        """Whether the op is the operand's only reader."""
        return len(op.operand_source(i).all_used_ops()) == 1

    def name(self, op: Any, i: int) -> str:
        """Of the parameter behind an operand."""
        producer = op.operand_source(i).get_defining_op()
        return producer.attrs().get("parameter_name") or producer.attrs().get("name") or producer.name()


def read_net(model: Model) -> Net:
    """Read a whole Program.

    Raises:
        Refusal: It has an op, or a use of one, that no kernel covers; names op and reason.
    """
    if len(model.feeds) != 1:
        raise Refusal(f"the model has {len(model.feeds)} inputs, and the runtime takes one")
    reader, outputs = Reader(model), []
    for op in model.program.global_block().ops:
        if op.name() == "pd_op.fetch":
            outputs.append((op.attrs().get("col", 0), reader.layer(op, 0), len(op.operand_source(0).shape)))
        else:
            _read_op(reader, op)
    found = reader.values[_input(model).id]
    return Net(found, [(layer, rank) for _, layer, rank in sorted(outputs, key=lambda output: output[0])])


def _read_op(reader: Reader, op: Any) -> None:
    kind = op.name().split(".")[-1]
    try:
        made = _made(reader, op, kind)
    except Refusal as refusal:
        raise Refusal(f"{kind}: {refusal}") from None
    if made is not None:
        reader.values[op.result(0).id] = made


def _made(reader: Reader, op: Any, kind: str) -> Symbol | None:
    if kind == "parameter" or (kind == "data" and op.result(0).persistable):
        return reader.model.graph.array(op.attrs().get("parameter_name") or op.attrs()["name"])
    if kind == "data":
        return _checked_input(op)
    operands = [reader.values.get(source.id) if exists(source) else None for source in op.operands_source()]
    if kind == "combine":
        return tuple(operands)
    if is_constant_maker(kind) and all(isinstance(operand, np.ndarray) for operand in operands):
        return make_constant(op, kind, lambda i: operands[i])
    if kind not in OPS:
        raise Refusal("the runtime has no kernel for this op")
    convert: Callable[[Reader, Any], Layer] = OPS[kind]
    return convert(reader, op)


def _input(model: Model) -> Any:
    return next(op.result(0) for op in model.program.global_block().ops
                if op.name() == "pd_op.data" and not op.result(0).persistable)


def _checked_input(op: Any) -> Layer:
    value = op.result(0)
    shape = list(value.shape)
    if len(shape) not in (2, 4) or shape[1] < 1 or "float32" not in str(value.dtype).lower():
        raise Refusal(f"the input must be float32 [n, channels, height, width] or [n, channels], got {shape} of "
                      f"{value.dtype}")
    return Layer("input", name=op.attrs()["name"], words={"channels": shape[1], "rank": len(shape)})
