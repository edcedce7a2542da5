# SPDX-License-Identifier: Apache-2.0
"""What is known of channels while they are followed: where they are, which they are, who stores and who reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Carrier:
    """Axis `axis` of the activation counts outer x channels x inner, flattened in that order."""

    value: Any
    axis: int
    channels: int
    outer: int = 1
    inner: int = 1

    @property
    def extent(self) -> int:
        return self.outer * self.channels * self.inner


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
        constants: numbers of the inputs that are the same everywhere, NaN where they vary.
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


def key(value: Any) -> tuple[int, int] | None:
    """Identity of a value: its op and place; None for arguments of a block."""
    op = value.get_defining_op()
    return None if op is None else (op.id(), value.index())
