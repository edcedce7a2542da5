# SPDX-License-Identifier: Apache-2.0
"""What is found out on the way through a Program: the slots, who carries, stores and reads them."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..graph import PirGraph
from ..graph.values import TRANSPARENT, exists, readers, through
from .labels import Carrier, Label, Reading, Stored, key
from .ops import unknown
from .slots import Units


class Trace:
    """Filled op by op, front to back, by `follow_channels`; the Program and its weights are only read.

    Args:
        graph: graph of the Program, with its weights in the scope.

    Attributes:
        units: The slots.
        labels: Activations whose channels are known, by `key`.
        stored: Axes of variables that count slots.
        readings: The layers that sum over channels.
        layers: Weight -> slots of the outputs of its layer.
        refused: Weight -> why the outputs of its layer are not followed.
        depthwise: Ops whose number of groups is that of their inputs, with the slots of these.
        values: Parameter -> its value in the Program.
        accounted: Parameter -> ids of the ops that `stored` accounts for.
    """

    def __init__(self, graph: PirGraph) -> None:
        self.graph = graph
        self.units = Units()
        self.labels: dict[Any, Label] = {}
        self.stored: list[Stored] = []
        self.readings: list[Reading] = []
        self.layers: dict[str, np.ndarray] = {}
        self.refused: dict[str, str] = {}
        self.depthwise: list[tuple[Any, np.ndarray]] = []
        self.values = {param.name: graph.persistable(param.name) for param in graph.params()}
        self.accounted: dict[str, set[int]] = {}

    def label(self, value: Any) -> Label | None:
        return self.labels.get(key(value)) if exists(value) else None

    def put(self, at: Carrier, base: np.ndarray, constants: np.ndarray) -> None:
        if at.extent > 1:  # one channel cannot go, and would look like a number for all channels
            self.labels[key(at.value)] = Label(at, base, constants)

    def store(self, op: Any, name: str, axis: int, slots: np.ndarray) -> None:
        """The op takes the variable's axis for these slots."""
        self.stored.append(Stored(name, axis, slots))
        self.accounted.setdefault(name, set()).add(op.id())

    def source(self, value: Any) -> str | None:
        """Name of the parameter behind casts and reshapes."""
        value = through(value, TRANSPARENT)
        return value.name if exists(value) and value.persistable and value.name in self.values else None

    def only_axis(self, op: Any, name: str, value: Any, extent: int) -> int:
        """The stored axis of a vector; every shape it is given on its way has one such axis."""
        stored = list(self.values[name].shape)
        while True:
            if prod(value.shape) != extent or extent not in value.shape:
                raise unknown(op)
            if value.is_same(self.values[name]):
                return stored.index(extent)
            value = value.get_defining_op().operand_source(0)

    def is_alone(self, name: str) -> bool:
        """Whether a variable may be changed: one op reads it, and it is of a dtype that the host computes in."""
        value = self.values[name]
        return len(list(readers(value))) == 1 and str(value.dtype).split(".")[-1].lower() in ("float32", "float64")

    def zeros(self, weight: str) -> np.ndarray:
        """Which outputs of a layer have nothing but zeros as weights, bool [outputs]."""
        axis = next(stored.axis for stored in self.stored if stored.name == weight)  # that of the outputs comes first
        alive = np.moveaxis(self.graph.array(weight) != 0, axis, 0).reshape(len(self.layers[weight]), -1).any(1)
        return np.asarray(~alive)
