# SPDX-License-Identifier: Apache-2.0
"""Which quantizer every layer's bytes get: by its own range, or by that of the one who reads it and cannot rescale."""

from __future__ import annotations

from typing import AbstractSet, Mapping

from ..net import Layer, Net, count_readers, layers_of
from .activations import useful_inputs
from .calibrators import Range
from .quantizer import Quantizer

MOVING = ("permute", "slice", "repeat", "pad")  # and a resize to the nearest pixel
Ranges = Mapping[Layer, Range]


def keeps_scale(layer: Layer) -> bool:
    """Whether its kernel moves bytes without changing what they mean."""
    if layer.kind in ("pool", "resize", "adaptive_pool", "reduce"):
        return layer.words.get("type", layer.words.get("mode")) in ("max", "min", "nearest")
    return layer.kind in MOVING or layer.kind in ("flatten", "concat")


def moved(layer: Layer) -> tuple[Layer, ...]:
    """The layers whose bytes it moves; a resize reads another one for its size alone."""
    return layer.inputs[:1] if layer.kind == "resize" else layer.inputs


def assign(net: Net, ranges: Ranges, floats: AbstractSet[Layer]) -> dict[Layer, Quantizer]:
    """The quantizer of every layer, the input included.

    From the outputs to the input: a layer that moves bytes hands its own quantizer to what it reads, unless somebody
    else reads that too (a table follows then). Where a maximum or a flattening reads such a value, it takes the value's
    quantizer instead, and needs no table.

    Args:
        net: As `lower` gives it.
        ranges: each layer -> the range of its numbers.
        floats: layers that stay in float32.
    """
    readers, layers = count_readers(net), [*net.inputs, *layers_of(net)]
    found: dict[Layer, Quantizer] = {}
    following: list[Layer] = []
    for layer in reversed(layers):
        quantizer = found.setdefault(layer, Quantizer.of_range(*ranges[layer]))
        if layer in floats:
            continue
        alone = [source for source in moved(layer) if readers[source] == 1]
        if keeps_scale(layer):
            found.update((source, quantizer) for source in alone)
            if len(moved(layer)) == 1 and not alone:
                following.append(layer)
        elif layer.kind == "activation" and alone:
            found[alone[0]] = Quantizer.of_range(*_narrowed(ranges[alone[0]], useful_inputs(layer.act)))
    for layer in reversed(following):
        found[layer] = found[layer.inputs[0]]
    return found


def _narrowed(given: Range, useful: Range) -> Range:
    return max(given[0], useful[0]), max(min(given[1], useful[1]), max(given[0], useful[0]))
