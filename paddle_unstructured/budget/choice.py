# SPDX-License-Identifier: Apache-2.0
"""How many weights each layer loses, so that all of them take no longer than a time."""

from __future__ import annotations

from typing import Sequence

import numpy as np

from ..masking.update import PrunedLayer
from ..reconstruction.layers import SolvableLayer, solvable
from ..reconstruction.samples import Feed, of
from ..reconstruction.worth import worth_of
from ..saved_model import Model
from .errors import Alone, output_errors
from .levels import Levels
from .races import races
from .search import Found, Layers, search
from .times import Times
from .trial import Trials

_FITTED = 128  # samples that layers are repaired on
_ALONE = 32  # samples that outputs are compared on, one layer pruned
_TOGETHER = 64  # all layers pruned


def choose(
    model: Model,
    layers: Sequence[PrunedLayer],
    levels: Levels,
    times: Times,
    seconds: float,
    batches: Sequence[tuple[Feed, str]],
    *,
    trials: int,
    seed: int,
) -> tuple[Found, dict[str, Alone]]:
    """Zeros of each layer that can be faster, and what each costs alone.

    Args:
        model: the dense model; its weights are changed, and put back.
        layers, levels, times: what is pruned, zeros that each may have, and what it takes then.
        seconds: of a run; it is known that they can be met.
        batches: (feeds, what they are for).
        trials: choices that are tried, beside those of single layers and of the allocations; 0: none is tried.
        seed: of the positions of images that are looked at, and of what is tried.
    """
    useful = [layer for layer in layers if np.ptp(times.layers[layer.param.name]) > 0.0]
    idle = sum(float(times.layers[layer.param.name][0]) for layer in layers if layer not in useful)
    left = seconds - times.fixed - idle
    fitted, held = _first(of(batches, "fit"), _FITTED), of(batches, "choose")
    ways = [way for way in (solvable(model.graph, layer.param) for layer in layers) if isinstance(way, SolvableLayer)]
    worth = worth_of(model, ways, of(batches, "fit", "choose"), seed=seed)
    alone = output_errors(model, useful, levels, fitted, _first(held, _ALONE), worth, seed=seed)
    names = list(alone)
    choices = Layers(
        names,
        [levels[name] for name in names],
        [times.layers[name] for name in names],
        [alone[name].errors for name in names],
    )
    if not trials:
        return search(choices, left, lambda choice: 0.0, starts={}, trials=0, seed=seed), alone
    together = Trials(model, layers, alone, fitted, _first(held, _TOGETHER), seed=seed)
    starts = races(model.graph, [alone[name].layer for name in names], worth, times, levels, left)
    return search(choices, left, together.error, starts=starts, trials=trials, seed=seed), alone


def _first(feeds: Sequence[Feed], most: int) -> list[Feed]:
    """Feeds of at most so many samples; one at least."""
    found, count = list[Feed](), 0
    for feed in feeds:
        found.append(feed)
        count += len(next(iter(feed.values())))
        if count >= most:
            break
    return found
