"""The channels of all layers through one inference Program: who lives and dies together, and who reads whom."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import prod
from typing import Any, Sequence

import numpy as np

from ..graph.program import PirGraph
from ..graph.values import TRANSPARENT, channel_axis, exists, forward_uses, kind_of, members, numbers, readers, through
from .constants import along, passed_on, result_of
from .consumers import conv, matmul
from .joins import concat, join, split
from .ops import JOINS, VECTORS, Carrier, Fixed, behind, is_tested, unknown
from .slots import Label, Reading, Stored, Units, key

_LAYERS = {"conv2d": conv, "depthwise_conv2d": conv, "conv2d_transpose": conv, "matmul": matmul}
_ELSEWHERE = {**_LAYERS, "concat": concat, "split": split, "split_with_num": split, **dict.fromkeys(JOINS, join)}
_LISTS = {"builtin.combine", "builtin.split"}  # handled with the op that takes or gives the list


class Flow:
    """Walks the Program once, front to back; it and its weights are only read.

    Args:
        graph: Of an inference Program with its weights in the scope.

    Attributes:
        units: The slots.
        labels: Activations whose channels are known, by `key`.
        stored: Axes of variables that count slots.
        readings: The layers that sum over channels.
        layers: Weight -> slots of the outputs of its layer.
        refused: Weight -> why the outputs of its layer are not followed.
        depthwise: Ops whose number of groups is that of their inputs, with the slots of these.
    """

    def __init__(self, graph: PirGraph) -> None:
        self.graph = graph
        self.units, self.labels = Units(), {}
        self.stored: list[Stored] = []
        self.readings: list[Reading] = []
        self.layers: dict[str, np.ndarray] = {}
        self.refused: dict[str, str] = {}
        self.depthwise: list[tuple[Any, np.ndarray]] = []
        self.values = {param.name: graph.persistable(param.name) for param in graph.params()}
        self._readers: dict[str, set[int]] = {}  # variable -> ops that `stored` accounts for
        self._steps = {
            "prelu": self._prelu,
            "shape": _shape,
            "shape64": _shape,
            "fetch": _fetch,
            **dict.fromkeys(VECTORS, self._norm),
            **{kind: partial(step, self) for kind, step in _ELSEWHERE.items()},
        }
        for op in graph.program.global_block().ops:
            self._visit(op)
        self._settle()

    def label(self, value: Any) -> Label | None:
        return self.labels.get(key(value)) if exists(value) else None

    def zeros(self, weight: str) -> np.ndarray:
        """Which outputs of a layer have nothing but zeros as weights, bool [outputs]."""
        axis = next(stored.axis for stored in self.stored if stored.name == weight)  # that of the outputs comes first
        return ~np.moveaxis(self.graph.array(weight) != 0, axis, 0).reshape(len(self.layers[weight]), -1).any(1)

    def _visit(self, op: Any) -> None:
        if op.name() in _LISTS:
            return
        sources = [source for operand in op.operands_source() if exists(operand) for source in members(operand)]
        labels = [label for label in map(self.label, sources) if label is not None]
        kind = kind_of(op)
        if not labels and kind not in _LAYERS:
            return
        try:
            self._steps.get(kind, self._pass)(op)
        except Fixed as fixed:
            for label in labels:
                self.units.pin(label.slots, str(fixed))

    def _settle(self) -> None:
        """Pin what inner blocks, the end of the Program or other readers of a variable see; join shared weights."""
        outer = {op.id() for op in self.graph.program.global_block().ops}
        for label in self.labels.values():
            uses = forward_uses(label.at.value)
            inner = [op for op in uses if op.id() not in outer]
            if inner or not uses:
                self.units.pin(label.slots, str(unknown(inner[0])) if inner else "its outputs leave the Program")
        first: dict[tuple[str, int], Stored] = {}
        for stored in self.stored:
            self.units.join(first.setdefault((stored.name, stored.axis), stored).slots, stored.slots)
            for op in readers(self.values[stored.name]):
                if op.id() not in self._readers[stored.name]:
                    self.units.pin(stored.slots, f"{stored.name}, which sees its outputs, is also read by {op.name()}")

    def put(self, at: Carrier, base: np.ndarray, constants: np.ndarray) -> None:
        if at.extent > 1:  # one channel cannot go, and would look like a number for all channels
            self.labels[key(at.value)] = Label(at, base, constants)

    def store(self, op: Any, name: str, axis: int, slots: np.ndarray) -> None:
        self.stored.append(Stored(name, axis, slots))
        self._readers.setdefault(name, set()).add(op.id())

    def is_alone(self, name: str) -> bool:
        """Whether a variable may be changed: one op reads it, and it is of a dtype that the host computes in."""
        value = self.values[name]
        return len(list(readers(value))) == 1 and str(value.dtype).split(".")[-1].lower() in ("float32", "float64")

    # -- numbers per channel

    def _norm(self, op: Any) -> None:
        label = self.label(op.operand_source(0))
        if label is None or label.at.axis != channel_axis(op, label.at.value):
            raise unknown(op)
        if not is_tested(op):
            raise Fixed(f"{op.name()} is not in test mode")
        if any(forward_uses(result) for result in op.results()[1:]):
            raise unknown(op)
        self._scaled(op, label, VECTORS[kind_of(op)])

    def _prelu(self, op: Any) -> None:
        label = self.label(op.operand_source(0))
        one_for_all = prod(op.operand_source(1).shape) == 1
        in_channels = (
            label is not None and op.attrs()["mode"] == "channel" and label.at.axis == channel_axis(op, label.at.value)
        )
        if label is None or not (in_channels or one_for_all):
            raise unknown(op)
        self._scaled(op, label, () if one_for_all else (1,), () if in_channels and not one_for_all else (1,))

    def _scaled(self, op: Any, label: Label, vectors: Sequence[int], others: Sequence[int] = ()) -> None:
        """Behind an op whose operands `vectors` hold a number per channel, and `others` one for all."""
        given = {0: along(label.constants, len(label.at.value.shape), label.at.axis)}
        for operand in [*vectors, *others]:
            value = op.operand_source(operand)
            if not exists(value):
                continue
            name = self.source(value)
            if name is None:
                raise unknown(op)
            if operand in vectors:
                self.store(op, name, self.only_axis(op, name, value, label.at.extent), label.slots)
            given[operand] = self.graph.array(name).reshape(value.shape)
        self.put(replace(label.at, value=op.result(0)), label.base, result_of(op, given, label.constants))

    def only_axis(self, op: Any, name: str, value: Any, extent: int) -> int:
        """The stored axis of a vector; every shape it is given on its way has one such axis."""
        stored = list(self.values[name].shape)
        while True:
            if prod(value.shape) != extent or extent not in value.shape:
                raise unknown(op)
            if value.is_same(self.values[name]):
                return stored.index(extent)
            value = value.get_defining_op().operand_source(0)

    def _pass(self, op: Any) -> None:
        label = self.label(op.operand_source(0))
        if label is None or any(self.label(other) is not None for other in op.operands_source()[1:]):
            raise unknown(op)
        if kind_of(op) == "reshape" and numbers(op.operand_source(1)) is None:
            raise Fixed(f"{op.name()} gives its outputs a shape that is computed")
        after = behind(op, label.at)
        self.put(after, label.base, passed_on(op, label.at, after, label.constants))

    def source(self, value: Any) -> str | None:
        """Name of the parameter behind casts and reshapes."""
        value = through(value, TRANSPARENT)
        return value.name if exists(value) and value.persistable and value.name in self.values else None


def _shape(op: Any) -> None:
    raise Fixed("its shape is read")


def _fetch(op: Any) -> None:
    raise Fixed("its outputs are fetched")
