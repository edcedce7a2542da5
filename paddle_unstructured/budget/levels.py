# SPDX-License-Identifier: Apache-2.0
"""The sparsities that a layer may have, and its weight at one of them."""

from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np
import paddle

from ..distributed.collectives import mode
from ..masking.update import PrunedLayer
from ..patterns import own_sparsity
from ..ranking.one_layer import keep_highest

SPARSITIES = (0.0, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98)
Levels = Mapping[str, tuple[int, ...]]  # name of a weight -> zeros at each of its levels, rising, 0 first


def levels_of(layers: Sequence[PrunedLayer], highest: float) -> Levels:
    """What each layer may lose: `SPARSITIES` up to the highest and to what its pattern can take; n:m all or nothing."""
    found: dict[str, tuple[int, ...]] = {}
    for layer in layers:
        size, limit = layer.param.size, layer.pattern.limit(layer.param)
        if own_sparsity(layer.pattern) is not None:
            found[layer.param.name] = (0, limit)
        else:
            sparsities = [s for s in SPARSITIES if s < highest] + [highest]
            found[layer.param.name] = tuple(sorted({min(round(s * size), limit) for s in sparsities}))
    return found


def keep(layer: PrunedLayer, values: np.ndarray, zeros: int) -> np.ndarray:
    """What the pattern keeps of a weight when so many of its lowest values fall: bool, in the weight's shape."""
    param, pattern = layer.param, layer.pattern
    with mode(paddle.disable_static), paddle.no_grad():
        of_units = pattern.size(param)
        size = of_units if isinstance(of_units, int) else of_units.numpy()
        scores = paddle.to_tensor(np.abs(values).astype(np.float32), place=paddle.CPUPlace())
        kept = keep_highest(pattern.units(scores, param).numpy(), size, zeros)
        spread = pattern.spread(paddle.to_tensor(kept.astype(np.float32)), param).numpy()
    return np.asarray(spread != 0)


def masked(layer: PrunedLayer, weight: np.ndarray, zeros: int) -> np.ndarray:
    """The weight with its lowest magnitudes gone."""
    return np.where(keep(layer, weight, zeros), weight, np.zeros_like(weight)) if zeros else weight
