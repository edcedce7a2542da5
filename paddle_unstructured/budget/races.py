# SPDX-License-Identifier: Apache-2.0
"""What the allocations of a sparsity would choose within a time: a choice by time must be no worse than these."""

from __future__ import annotations

from typing import Callable, Mapping, Sequence

import numpy as np
import paddle
from paddle import Tensor

from ..allocation import LAMP, Allocation, Global, Uniform
from ..distributed.collectives import mode
from ..graph import PirGraph
from ..masking.update import PrunedLayer
from ..patterns import own_sparsity
from ..ranking.cut import Size
from ..reconstruction.damage import Damage
from ..reconstruction.worth import Worth
from .levels import Levels
from .times import Times

RULES = (Uniform(), Global(), LAMP())
_HALVINGS = 12


def races(
    graph: PirGraph,
    layers: Sequence[PrunedLayer],
    worth: Mapping[str, Worth],
    times: Times,
    levels: Levels,
    seconds: float,
) -> dict[str, dict[str, int]]:
    """The least overall sparsity of each allocation at which all layers together take no longer.

    What falls for nothing, in layers that it makes no faster, does not fall.

    Args:
        graph: of the dense model.
        layers: those that compete.
        worth: weights count by how far the outputs move if they go; nothing: by magnitude.
        times, levels: of the layers.
        seconds: that the layers may take.

    Returns:
        Name of the allocation -> name of each weight -> zeros. Not among them: one that is never so fast; all of them
        where a pattern, n:m, has a sparsity of its own.
    """
    if not layers or any(own_sparsity(layer.pattern) is not None for layer in layers):
        return {}
    race, found = Race(graph, layers, worth), {}

    def useful(zeros: Mapping[str, int]) -> dict[str, int]:
        return {name: _useful(count, times.layers[name], levels[name]) for name, count in zeros.items()}

    def taken(zeros: Mapping[str, int]) -> float:
        return sum(times.of(name, count, levels) for name, count in useful(zeros).items())

    for rule in RULES:
        least = race.least(rule, taken, seconds)
        if least is not None:
            found[type(rule).__name__] = useful(least[1])
    return found


class Race:
    """Layers that compete, and what each would lose.

    Args:
        graph: of the dense model.
        layers: those that compete.
        worth: weights count by how far the outputs move if they go; nothing: by magnitude.
    """

    def __init__(self, graph: PirGraph, layers: Sequence[PrunedLayer], worth: Mapping[str, Worth]) -> None:
        self._params = [layer.param for layer in layers]
        self._limits = [layer.pattern.limit(layer.param) for layer in layers]
        self._units, self._alive, self._sizes = list[Tensor](), list[Tensor](), list[Size]()
        damage = Damage(worth) if worth else None
        with mode(paddle.disable_static), paddle.no_grad():
            for layer in layers:
                weight = paddle.to_tensor(graph.stored(layer.param.name).astype(np.float32), place=paddle.CPUPlace())
                scores = damage.score(weight, layer.param, None) if damage else paddle.abs(weight)
                units = layer.pattern.units(scores, layer.param)
                self._units.append(units)
                self._alive.append(layer.pattern.alive(paddle.ones_like(weight), layer.param).astype(units.dtype))
                self._sizes.append(layer.pattern.size(layer.param))

    def zeros(self, rule: Allocation, ratio: float) -> dict[str, int] | None:
        """Zeros of each layer at an overall sparsity; None if the pattern cannot take so many."""
        with mode(paddle.disable_static), paddle.no_grad():
            try:
                quota = rule.budget(self._params, ratio, self._limits)
            except ValueError:
                return None
            pruned = rule.decide(self._units, self._alive, self._sizes, quota).pruned.numpy()
        return {param.name: int(count) for param, count in zip(self._params, pruned)}

    def least(
        self, rule: Allocation, taken: Callable[[Mapping[str, int]], float], seconds: float
    ) -> tuple[float, dict[str, int]] | None:
        """The least overall sparsity at which layers take no longer, and their zeros; None if there is none."""
        low, high, best = 0.0, 1.0, None
        for _ in range(_HALVINGS):
            ratio = (low + high) / 2
            zeros = self.zeros(rule, ratio)
            if zeros is None:
                high = ratio
            elif taken(zeros) <= seconds:
                high, best = ratio, (ratio, zeros)
            else:
                low = ratio
        return best


def _useful(zeros: int, times: np.ndarray, levels: Sequence[int]) -> int:
    """The fewest zeros with which a layer is as fast."""
    zeros = min(zeros, levels[-1])
    limit = float(np.interp(zeros, levels, times))
    return next((level for level, time in zip(levels, times) if level < zeros and time <= limit), zeros)
