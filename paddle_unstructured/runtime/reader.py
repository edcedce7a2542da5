# SPDX-License-Identifier: Apache-2.0
"""What is known of a Program while its ops are read one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Tuple, Union

import numpy as np

from ..saved_model import Model
from .net import Layer
from .refusals import RefusedOp

Symbol = Union[Layer, np.ndarray, Tuple[Any, ...]]  # an activation, a constant, or several of these


class Refusal(ValueError):
    """A net, or ops of it, that the runtime cannot run; the message is the reason.

    Args:
        reason: message.
        ops: what is refused, op by op, if the whole net has been looked at.
    """

    def __init__(self, reason: str, ops: tuple[RefusedOp, ...] = ()) -> None:
        super().__init__(reason)
        self.ops = ops


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
        return self.layer_of(op.operand_source(i))

    def layer_of(self, value: Any) -> Layer:
        """A value that is an activation."""
        found = self.symbol(value)
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
        return str(producer.attrs().get("parameter_name") or producer.attrs().get("name") or producer.name())
