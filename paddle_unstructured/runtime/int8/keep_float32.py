# SPDX-License-Identifier: Apache-2.0
"""Which layers had better stay in float32: those whose numbers hurt the outputs most for the time that int8 saves."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Collection, Mapping, Sequence

from ..net import Layer, Net, layers_of
from ..precision.batches import Batch, count_samples, pick_samples
from ..precision.layers import is_matrix
from .assign_scales import keeps_scale, moved
from .errors import Calibrated, errors_alone
from .observe import Observed

ROUNDS = 4  # of choosing and measuring
HURTS = "numbers that add {:.2%} to the outputs"
_WRITTEN = 8  # multiply-adds that take the time of writing one number
_AFFORDED = 2e12  # of them in all, when every layer is measured alone: about a minute


@dataclass(frozen=True)
class Numbers:
    """Numbers that are rounded once, wherever they are moved to.

    Attributes:
        error: error of the outputs if nothing else is rounded.
        layers: layers that must all be in float32 for these numbers to be exact: those that make, move and read them. A
            matrix in int8 makes exact ones too.
    """

    error: float
    layers: tuple[Layer, ...]


def keep_hurting(calibrated: Calibrated, costs: Mapping[Layer, float], most: float, batch: Batch) -> Calibrated:
    """Keep layers in float32 until the error of the outputs is `most` on some samples, and measure it.

    Args:
        calibrated: with the layers that stay in float32 anyway.
        costs: each layer -> the time that int8 saves, in multiply-adds of one sample.
        most: error of the outputs that is accepted, a fraction > 0.
        batch: samples to measure on; of a large net a few of them tell what each layer adds.
    """
    found = calibrated.measured(batch)
    if found.error is None or found.error <= most:
        return found
    alone = errors_alone(calibrated, affordable(calibrated.net, batch, costs))
    numbers, target = rounded_numbers(calibrated, alone), most
    for _ in range(ROUNDS):
        kept = hurting(numbers, calibrated.floats, costs, target)
        found = replace(calibrated, floats={**calibrated.floats, **kept}).measured(batch)
        assert found.error is not None
        if found.error <= most:
            break
        target *= 0.9 * most / found.error
    return found


def affordable(net: Net, batch: Batch, costs: Mapping[Layer, float]) -> Batch:
    """As many of the samples as take about a minute when the net runs once for every layer; one at least."""
    count = count_samples(net, batch)
    most = max(1, min(count, int(_AFFORDED / max(1.0, sum(costs.values()) * len(layers_of(net))))))
    return pick_samples(net, batch, range(0, count, count // most)[:most])


def hurting(
    numbers: Sequence[Numbers], floats: Collection[Layer], costs: Mapping[Layer, float], most: float
) -> dict[Layer, str]:
    """The layers that stay in float32 for the error of the outputs to be `most`.

    Errors are taken as independent: together they are sqrt(sum e^2). Numbers become exact one after the other, those
    first whose e^2 is the largest for the cost of the layers that have still to be kept for them.

    Args:
        numbers: numbers that are rounded.
        floats: layers that are in float32 anyway.
        costs: each layer -> the time that int8 saves.
        most: error of the outputs that is accepted, a fraction > 0.

    Returns:
        the layer -> why.
    """
    kept: dict[Layer, str] = {}

    def missing(one: Numbers) -> list[Layer]:
        return [layer for layer in one.layers if layer not in kept and layer not in floats]

    while True:
        left = [(one, layers) for one in numbers if (layers := missing(one))]
        if sum(one.error**2 for one, _ in left) <= most**2:
            return kept
        worst, layers = max(left, key=lambda item: item[0].error ** 2 / sum(costs[layer] for layer in item[1]))
        kept.update((layer, HURTS.format(worst.error)) for layer in layers)


def rounded_numbers(calibrated: Calibrated, alone: Mapping[Layer, float]) -> list[Numbers]:
    """What is rounded in a net, and where it is made, moved and read; `alone` as `errors_alone` returns it."""
    net = calibrated.net
    readers = defaultdict(list)
    for layer in layers_of(net):
        for source in layer.inputs:
            readers[source].append(layer)
    found = []
    for group in _moved_together(net):
        makers = [layer for layer in group if layer.kind != "input" and (keeps_scale(layer) or not is_matrix(layer))]
        layers = dict.fromkeys([*makers, *(reader for layer in group for reader in readers[layer])])
        error = sum(alone.get(layer, 0.0) ** 2 for layer in group) ** 0.5
        found.append(Numbers(error, tuple(layers)))
    return found


def _moved_together(net: Net) -> list[list[Layer]]:
    """All layers, in groups whose numbers are the same bytes."""
    group = {layer: [layer] for layer in [*net.inputs, *layers_of(net)]}
    for layer in layers_of(net):
        for source in moved(layer) if keeps_scale(layer) else ():
            if group[source] is not group[layer]:
                group[source].extend(group[layer])
                for each in group[layer]:
                    group[each] = group[source]
    return list({id(each): each for each in group.values()}.values())


def saved_time(seen: Mapping[Layer, Observed], samples: int) -> dict[Layer, float]:
    """What int8 saves of each layer: its multiply-adds, and some for each number that it writes."""
    return {layer: (layer.weight.size + _WRITTEN * len(one.total)) * one.count / samples for layer, one in seen.items()}
