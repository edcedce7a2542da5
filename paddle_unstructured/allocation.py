"""Who competes with whom for the budget: how many weights every layer loses at a given overall sparsity.

An allocation turns the overall sparsity into whole numbers on the host (a few per layer), and lets `rank.cut` find
the units on the device.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Sequence

import numpy as np
import paddle
from paddle import Tensor

from .rank import Cut, Size, cut


class Allocation(Protocol):
    """Any object with these three methods is an allocation."""

    def feeds(self, sizes: Sequence[int], sparsity: float) -> dict[str, np.ndarray]:
        """What `decide` is given at an update, computed from the layers' sizes; shapes do not depend on sparsity."""

    def decide(self, units: list[Tensor], alive: list[Tensor], sizes: list[Size], **feeds: Tensor) -> Cut:
        """Which units stay, on the device."""

    def due(self, step: int, sparsity: float, applied: float) -> bool:
        """Whether masks must be updated at this step, `applied` being the sparsity of the last update."""


class _Ranked:
    """An allocation by rank: exact numbers of weights, whatever their values are."""

    def decide(self, units: list[Tensor], alive: list[Tensor], sizes: list[Size], **feeds: Tensor) -> Cut:
        return cut(units, alive, sizes, **feeds)

    def due(self, step: int, sparsity: float, applied: float) -> bool:
        return sparsity > applied


@dataclass(frozen=True)
class Global(_Ranked):
    """All layers in one race: the round(sparsity * n) lowest scores of all n weights fall, wherever they are.

    No layer keeps less than `floor` times the overall density, ceil(floor * (1 - sparsity) * n_layer) weights; what a
    layer may not lose the others lose instead, so the overall number stays exact. Without a floor, a race at 95 %
    sparsity can empty a whole layer of a small net, and with it the net's accuracy.

    Args:
        floor: In [0, 1]; 0 = no floor, 1 = every layer exactly the overall sparsity.

    Raises:
        ValueError: `floor` outside [0, 1].
    """

    floor: float = 0.3

    def __post_init__(self) -> None:
        if not 0.0 <= self.floor <= 1.0:
            raise ValueError(f"Global `floor` must be in [0, 1], got {self.floor!r}; 0 switches it off.")

    def feeds(self, sizes: Sequence[int], sparsity: float) -> dict[str, np.ndarray]:
        layers, total = np.asarray(sizes, "int64"), round(sparsity * sum(sizes))
        least = self.floor * (1.0 - sparsity) * layers
        # In tiny layers rounding up can ask for more than may be kept at all; then round down.
        for rounded in (np.ceil(least - 1e-9), np.floor(least)):
            high = layers - rounded.astype("int64")
            if high.sum() >= total:
                break
        return {"total": np.array([total], "int64"), "low": np.zeros_like(layers), "high": high}


@dataclass(frozen=True)
class Uniform(_Ranked):
    """Every layer by itself loses round(sparsity * n_layer) weights. PaddleSlim's `local_sparsity=True`."""

    def feeds(self, sizes: Sequence[int], sparsity: float) -> dict[str, np.ndarray]:
        each = np.array([round(sparsity * size) for size in sizes], "int64")
        return {"total": np.array([each.sum()], "int64"), "low": each, "high": each}


@dataclass(frozen=True)
class Threshold:
    """Every unit with a score below `value` falls, in every layer; how many that are is up to the weights.

    Masks are looked at again every `update_every` steps: training pulls further weights below the threshold.

    Args:
        value: >= 0, in units of the score.
        update_every: Steps, >= 1.

    Raises:
        ValueError: A value outside the above.
    """

    value: float
    update_every: int = 1

    def __post_init__(self) -> None:
        if not (self.value >= 0.0 and np.isfinite(self.value)):
            raise ValueError(f"`threshold` must be a finite number >= 0, got {self.value!r}; weights with |w| below "
                             "it are pruned.")
        if self.update_every < 1:
            raise ValueError(f"Threshold `update_every` must be >= 1 step, got {self.update_every!r}.")

    def feeds(self, sizes: Sequence[int], sparsity: float) -> dict[str, np.ndarray]:
        return {}

    def decide(self, units: list[Tensor], alive: list[Tensor], sizes: list[Size], **feeds: Tensor) -> Cut:
        keep = [(u >= self.value).cast(u.dtype) * a.cast(u.dtype) for u, a in zip(units, alive)]
        pruned = paddle.stack([paddle.sum((k.flatten() == 0).cast("int64") * size) for k, size in zip(keep, sizes)])
        return Cut(keep, pruned, paddle.full([len(units)], self.value, "float64"))

    def due(self, step: int, sparsity: float, applied: float) -> bool:
        return step % self.update_every == 0
