# SPDX-License-Identifier: Apache-2.0
"""How many weights each layer loses, so that all of them take no longer than a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Sequence

import numpy as np

from ..masking.update import PrunedLayer
from ..reconstruction.layers import SolvableLayer, solvable
from ..reconstruction.samples import Feed, of
from ..reconstruction.worth import Worth, worth_of
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


@dataclass(frozen=True)
class Question:
    """What is to be chosen.

    Attributes:
        layers: those that can be faster, with what each level takes and costs alone.
        seconds: that they may take together.
        alone: what each costs alone, and its masks; by name of the weight.
    """

    layers: Layers
    seconds: float
    alone: dict[str, Alone]


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
    question, worth = asked(model, layers, levels, times, seconds, batches, seed=seed)
    if not trials:
        found = search(question.layers, question.seconds, lambda choice: 0.0, starts={}, trials=0, seed=seed)
        return found, question.alone
    together = tried(model, layers, question, batches, seed=seed)
    competing = [one.layer for one in question.alone.values()]
    starts = races(model.graph, competing, worth, times, levels, question.seconds)
    found = search(question.layers, question.seconds, together.error, starts=starts, trials=trials, seed=seed)
    return found, question.alone


def asked(
    model: Model,
    layers: Sequence[PrunedLayer],
    levels: Levels,
    times: Times,
    seconds: float,
    batches: Sequence[tuple[Feed, str]],
    *,
    seed: int,
) -> tuple[Question, Mapping[str, Worth]]:
    """The question, and what outputs of layers are worth; arguments as `choose` has them."""
    useful = [layer for layer in layers if np.ptp(times.layers[layer.param.name]) > 0.0]
    idle = sum(float(times.layers[layer.param.name][0]) for layer in layers if layer not in useful)
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
    return Question(choices, seconds - times.fixed - idle, alone), worth


def tried(
    model: Model,
    layers: Sequence[PrunedLayer],
    question: Question,
    batches: Sequence[tuple[Feed, str]],
    *,
    seed: int,
) -> Trials:
    """What tries choices: all layers together, as long as `model` stays as it is."""
    fitted, judged = _first(of(batches, "fit"), _FITTED), _first(of(batches, "choose"), _TOGETHER)
    return Trials(model, layers, question.alone, fitted, judged, seed=seed)


def _first(feeds: Sequence[Feed], most: int) -> list[Feed]:
    """Feeds of at most so many samples; one at least."""
    found, count = list[Feed](), 0
    for feed in feeds:
        found.append(feed)
        count += len(next(iter(feed.values())))
        if count >= most:
            break
    return found
