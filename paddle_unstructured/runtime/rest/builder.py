# SPDX-License-Identifier: Apache-2.0
"""Nodes of one ONNX model, while it is made; nothing here knows Paddle."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Mapping, Sequence

import numpy as np

from ...formats.pdiparams import DTYPES
from ...formats.pir_json import attribute

OPSET = 17
_WORDS = {f"0.t_{dtype.word}": dtype.numpy for dtype in DTYPES.values()}
Op = Dict[str, Any]
Converter = Callable[["Builder", Op], object]  # appends nodes


@dataclass
class Builder:
    """Nodes of one ONNX model, while it is made.

    Attributes:
        types: value of the Program -> its type, as the file holds it.
        known: value -> its numbers, where no input reaches it.
    """

    types: Mapping[int, Any]
    known: dict[int, np.ndarray] = field(default_factory=dict)
    lists: dict[int, list[str]] = field(default_factory=dict)
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def names(self, op: Op) -> list[str]:
        """Those of what an op reads."""
        return [self.name(one["%"]) for one in op["I"]]

    def name(self, value: int) -> str:
        if value in self.known and f"v{value}" not in self.constants:
            self.constants[f"v{value}"] = self.known[value]
        return f"v{value}"

    def constant(self, numbers: Any, dtype: str = "int64") -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(numbers, dtype)
        return name

    def node(self, kind: str, inputs: Sequence[str], outputs: Sequence[str] | int = 1, **words: Any) -> list[str]:
        """Append a node; `outputs` are names, or how many."""
        from onnx import helper

        if isinstance(outputs, int):
            outputs = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), list(outputs), **words))
        return list(outputs)

    def rank(self, value: int) -> int:
        return len(self.types[value]["D"][1])

    def dtype(self, value: int) -> str:
        return _WORDS[self.types[value]["D"][0]["#"]]

    def numbers(self, op: Op, i: int) -> list[int] | None:
        """An operand that is a list of whole numbers; None if it depends on inputs."""
        found = self.known.get(op["I"][i]["%"])
        return None if found is None else [int(x) for x in found.ravel()]


def word(op: Op, name: str, default: Any = None) -> Any:
    """An attribute of an op, as Python has it."""
    found = attribute(op["A"], name)
    if found is None:
        return default
    if isinstance(found, list):
        return [one["D"] if isinstance(one, dict) else one for one in found]
    return found


def out(op: Op) -> list[str]:
    """Names of what an op makes."""
    return [f"v{one['%']}" for one in op["O"]]


def number(dtype: str) -> int:
    """A dtype as ONNX numbers it."""
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def known_axes(b: Builder, op: Op, i: int) -> list[int]:
    """An operand that is a list of whole numbers and depends on no input."""
    found = b.numbers(op, i)
    if found is None:
        raise ValueError("its axes depend on the input")
    return found


def with_lists(kind: str, count: int) -> Converter:
    """Operands behind the first become lists of int64."""

    def convert(b: Builder, op: Op) -> None:
        inputs = b.names(op)[:count]
        rest = [b.node("Cast", [name], to=number("int64"))[0] for name in inputs[1:]]
        b.node(kind, [inputs[0], *rest], out(op))

    return convert


def then(*kinds: str) -> Converter:
    """Nodes one behind the other."""

    def convert(b: Builder, op: Op) -> None:
        found = b.names(op)
        for i, kind in enumerate(kinds):
            found = b.node(kind, found, out(op) if i == len(kinds) - 1 else 1)

    return convert
