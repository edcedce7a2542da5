# SPDX-License-Identifier: Apache-2.0
"""What the allocations of a sparsity would choose within a time: a choice by time must be no worse than these."""

from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np
import paddle

from ..allocation import LAMP, Global, Uniform
from ..distributed.collectives import mode
from ..graph import PirGraph
from ..masking.update import PrunedLayer
from ..patterns import own_sparsity
from ..reconstruction.damage import Damage
from ..reconstruction.worth import Worth
from .levels import Levels
from .times import Times

_HALVINGS = 12
_RULES = (Uniform(), Global(), LAMP())


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
    params, limits = [layer.param for layer in layers], [layer.pattern.limit(layer.param) for layer in layers]
    damage = Damage(worth) if worth else None
    with mode(paddle.disable_static), paddle.no_grad():
        units, alive, sizes = [], [], []
        for layer in layers:
            weight = paddle.to_tensor(graph.stored(layer.param.name).astype(np.float32), place=paddle.CPUPlace())
            scores = damage.score(weight, layer.param, None) if damage else paddle.abs(weight)
            units.append(layer.pattern.units(scores, layer.param))
            alive.append(layer.pattern.alive(paddle.ones_like(weight), layer.param).astype(units[-1].dtype))
            sizes.append(layer.pattern.size(layer.param))
        found = {}
        for rule in _RULES:
            low, high, best = 0.0, 1.0, None
            for _ in range(_HALVINGS):
                ratio = (low + high) / 2
                try:
                    pruned = rule.decide(units, alive, sizes, rule.budget(params, ratio, limits)).pruned.numpy()
                except ValueError:  # more than the pattern can take
                    high = ratio
                    continue
                zeros = {
                    param.name: _useful(int(count), times.layers[param.name], levels[param.name])
                    for param, count in zip(params, pruned)
                }
                if sum(times.of(name, count, levels) for name, count in zeros.items()) <= seconds:
                    high, best = ratio, zeros
                else:
                    low = ratio
            if best is not None:
                found[type(rule).__name__] = best
    return found


def _useful(zeros: int, times: np.ndarray, levels: Sequence[int]) -> int:
    """The fewest zeros with which a layer is as fast."""
    zeros = min(zeros, levels[-1])
    limit = float(np.interp(zeros, levels, times))
    return next((level for level, time in zip(levels, times) if level < zeros and time <= limit), zeros)
