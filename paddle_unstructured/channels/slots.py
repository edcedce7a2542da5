"""Channels that live and die together: slots (the channels of activations), joined into units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np

from .ops import Carrier


class Units:
    """A union of sets of slots; a pinned slot pins its unit."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._pins: dict[int, str] = {}  # slot -> why it stays; the first reason given

    def new(self, count: int) -> np.ndarray:
        """Slots of an axis whose channels nobody has seen yet."""
        start = len(self._parent)
        self._parent += range(start, start + count)
        return np.arange(start, start + count)

    def join(self, first: Sequence[int], second: Sequence[int]) -> None:
        """Slot i of the first and slot i of the second are kept or removed together."""
        for one, other in zip(first, second):
            a, b = sorted((self._root(one), self._root(other)))
            self._parent[b] = a

    def pin(self, slots: Sequence[int], reason: str) -> None:
        for slot in slots:
            self._pins.setdefault(int(slot), reason)

    def roots(self) -> np.ndarray:
        """The unit of every slot, named by its lowest slot, int64 [slots]."""
        return np.array([self._root(slot) for slot in range(len(self._parent))], np.int64)

    def pins(self) -> dict[int, str]:
        """Pinned units: root -> reason."""
        found: dict[int, str] = {}
        for slot, reason in self._pins.items():
            found.setdefault(self._root(slot), reason)
        return found

    def _root(self, slot: int) -> int:
        while self._parent[slot] != slot:
            self._parent[slot] = slot = self._parent[self._parent[slot]]
        return slot


@dataclass(frozen=True)
class Label:
    """The channels of one activation.

    Attributes:
        at: On which axis they are.
        base: Their slots, int64 [at.channels].
        constants: What each element of the axis is, whatever is fed; NaN where that varies. float64 [at.extent].
    """

    at: Carrier
    base: np.ndarray
    constants: np.ndarray

    @property
    def slots(self) -> np.ndarray:
        """The slot of each element of the axis, int64 [at.extent]."""
        return np.tile(np.repeat(self.base, self.at.inner), self.at.outer)


@dataclass(frozen=True)
class Stored:
    """Axis `axis` of the variable `name` counts these slots, int64 [extent]."""

    name: str
    axis: int
    slots: np.ndarray


@dataclass(frozen=True)
class Sink:
    """A bias (sign 1) or a running mean (sign -1) that can take up a constant for each output of a layer."""

    name: str
    sign: int


@dataclass(frozen=True)
class Reading:
    """A layer that sums over channels.

    Attributes:
        weight: Name of its weight.
        axes: Where outputs and inputs are stored in it.
        taps: The weight with its kernel window flattened, [outputs, inputs, window].
        inputs, outputs: Slots on both sides.
        constants: Of the inputs, NaN where they vary.
        padded: Whether the border sees fewer taps than the middle.
        sink: Where a constant may be folded, or None.
        alone: Whether this layer may change the weight: nobody else reads it.
    """

    weight: str
    axes: tuple[int, int]
    taps: np.ndarray
    inputs: np.ndarray
    outputs: np.ndarray
    constants: np.ndarray
    padded: bool
    sink: Sink | None
    alone: bool

    @property
    def folds(self) -> bool:
        """Whether any constant can be folded; 0 always can."""
        return self.sink is not None and not self.padded


def weighed(taps: np.ndarray, constants: np.ndarray, padded: bool) -> np.ndarray:
    """The layer's outputs where all inputs with a weight are constants: sum_j c_j sum_k taps[o, j, k]; NaN elsewhere.

    Under zero padding only c_j = 0 gives the same at the border as in the middle.
    """
    varies = np.isnan(constants) | (padded & (constants != 0))
    known = ~any_tap(taps)[:, varies].any(1)
    outputs = np.full(len(taps), np.nan)
    counted = ~varies & (constants != 0)
    outputs[known] = taps[np.ix_(known, counted)].sum(2, dtype=np.float64) @ constants[counted]
    return outputs


def any_tap(taps: np.ndarray) -> np.ndarray:
    """Which outputs read which inputs, bool [outputs, inputs]."""
    read = (taps != 0).any(2) if taps.shape[2] > 1 else taps[:, :, 0] != 0  # reducing one element is slow
    return np.ascontiguousarray(read)


def key(value: Any) -> tuple[int, int] | None:
    """Identity of a value: its op and place; None for arguments of a block."""
    op = value.get_defining_op()
    return None if op is None else (op.id(), value.index())
