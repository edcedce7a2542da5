# SPDX-License-Identifier: Apache-2.0
"""Nodes of one ONNX model, while it is made; nothing here knows Paddle."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Mapping, Sequence

import numpy as np

from ...formats.pdiparams import DTYPES
from ...formats.pir_json import attribute, held

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

    def shape(self, value: int) -> list[int]:
        """Its sizes; -1 for those that are open."""
        return [int(extent) for extent in self.types[value]["D"][1]]

    def rank(self, value: int) -> int:
        return len(self.shape(value))

    def dtype(self, value: int) -> str:
        return _WORDS[self.types[value]["D"][0]["#"]]

    def rank_of(self, value: int) -> int:
        """Also of one that is known."""
        return self.known[value].ndim if value in self.known else self.rank(value)

    def dims(self, name: str, low: int, high: int) -> str:
        """The sizes of some axes, low to high - 1, as a list."""
        return self.node("Shape", [name], start=low, end=high)[0]

    def cast(self, name: str, dtype: str) -> str:
        return self.node("Cast", [name], to=number(dtype))[0]

    def scalar(self, name: str, dtype: str) -> str:
        """A value of one number, whatever its rank."""
        return self.cast(self.node("Reshape", [name, self.constant([], "int64")])[0], dtype)

    def is_given(self, op: Op, i: int) -> bool:
        """Whether an operand that may be missing is there."""
        value = op["I"][i]["%"] if i < len(op["I"]) else None
        return value in self.types or value in self.known or value in self.lists

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
        return [held(one) if isinstance(one, dict) else one for one in found]
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


def list_of(b: Builder, op: Op, i: int) -> str:
    """An operand that is a list of whole numbers, or several values of one each, as one list of int64."""
    value = op["I"][i]["%"]
    if value not in b.lists and b.rank_of(value) == 1:
        return b.cast(b.name(value), "int64")
    parts = b.lists.get(value) or [b.name(value)]
    flat = [b.node("Reshape", [b.cast(part, "int64"), b.constant([-1])])[0] for part in parts]
    return flat[0] if len(flat) == 1 else b.node("Concat", flat, axis=0)[0]


def with_list(kind: str) -> Converter:
    """A node whose second operand is a list of whole numbers."""
    return lambda b, op: b.node(kind, [b.name(op["I"][0]["%"]), list_of(b, op, 1)], out(op))


def channels_first(op: Op) -> None:
    """Raise ValueError if the channels are the last axis."""
    if str(word(op, "data_format", "NCHW")).endswith("C"):
        raise ValueError("only channels first (NCHW) is known")


def then(*kinds: str) -> Converter:
    """Nodes one behind the other."""

    def convert(b: Builder, op: Op) -> None:
        found = b.names(op)
        for i, kind in enumerate(kinds):
            found = b.node(kind, found, out(op) if i == len(kinds) - 1 else 1)

    return convert


def written(*steps: Sequence[Any]) -> Converter:
    """A formula.

    Args:
        steps: node, and what it reads: an operand ("x", "y", "z"), a number, or an earlier step ("#0", ...).
    """

    def convert(b: Builder, op: Op) -> None:
        dtype = b.dtype(op["I"][0]["%"])
        known = dict(zip("xyz", b.names(op)))
        for i, (kind, *read) in enumerate(steps):
            names = [known[one] if isinstance(one, str) else b.constant(one, dtype) for one in read]
            known[f"#{i}"] = b.node(kind, names, out(op) if i == len(steps) - 1 else 1)[0]

    return convert
