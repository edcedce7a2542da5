# SPDX-License-Identifier: Apache-2.0
"""Channels of one layer in another order: which stored axes follow, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Sequence

import numpy as np

from ..graph import PirGraph
from ..graph.values import kind_of
from .ops import Fixed
from .optimizer import companions
from .trace import Trace


@dataclass(frozen=True)
class Seen:
    """Axis `axis` of the variable `name` counts channels of the layer.

    Attributes:
        name: name of the variable.
        axis: which of its axes.
        places: where the axis has each channel, int64 [channels, times].
    """

    name: str
    axis: int
    places: np.ndarray

    def index(self, order: np.ndarray, extent: int) -> np.ndarray:
        """What `take` needs along the axis, so that channel i is then the former order[i]."""
        index = np.arange(extent)
        index[self.places] = self.places[order]
        return index


class Moves:
    """Which channels may change places, asked layer by layer; moving them does not change the answer."""

    def __init__(self, trace: Trace) -> None:
        self.trace, self._roots, self._fixed = trace, trace.units.roots(), trace.units.places()

    def units(self, layer: str) -> tuple[int, ...]:
        """The units of a layer's outputs, in their order; () if they are not followed."""
        return tuple(self._roots[self.trace.layers.get(layer, np.array([], np.int64))])

    def seen_by(self, layer: str) -> list[Seen]:
        """All stored axes that count the layer's output channels: its own, biases and norms on the way, the inputs of
        the layers that follow, what is joined with them, and the optimizer's accumulators of all these.

        Raises:
            Fixed: The channels reach something whose meaning depends on their order; says what.
        """
        units = np.array(self.units(layer))
        fixed = next((self._fixed[unit] for unit in units if unit in self._fixed), None)
        if fixed is not None:
            raise Fixed(fixed)
        if len(np.unique(units)) < len(units):
            raise Fixed("some of its outputs are tied to others")
        for label in self.trace.labels.values():
            if _places(self._roots[label.slots], units) is None:
                producer = label.at.value.get_defining_op()
                raise Fixed(f"{kind_of(producer)} has only a part of its outputs")
        seen: dict[tuple[str, int], Seen] = {}
        for stored in self.trace.stored:
            places = _places(self._roots[stored.slots], units)
            if places is None:
                raise Fixed(f"{stored.name} has only a part of its outputs")
            if places.size:
                seen.setdefault((stored.name, stored.axis), Seen(stored.name, stored.axis, places))
        beside = [Seen(name, s.axis, s.places) for s in seen.values() for name in companions(self.trace.graph, s.name)]
        return list({(s.name, s.axis): s for s in [*seen.values(), *beside]}.values())


def _places(roots: np.ndarray, units: np.ndarray) -> np.ndarray | None:
    """Where an axis has each unit, [units, times] (times is 0 if it has none); None if it has some more than others."""
    order = np.argsort(units)
    found = np.flatnonzero(np.isin(roots, units))
    which = order[np.searchsorted(units, roots[found], sorter=order)]
    counts = np.bincount(which, minlength=len(units))
    if len(units) and (counts != counts[0]).any():
        return None
    return found[np.argsort(which, kind="stable")].reshape(len(units), -1)


def reorder(graph: PirGraph, seen: Sequence[Seen], order: np.ndarray) -> None:
    """Bring the channels of all these stored axes into a new order: channel i is then the former order[i].

    Raises:
        ValueError: One of the variables has no value; none was changed.
    """
    missing = [s.name for s in seen if not graph.is_initialized(s.name)]
    if missing:
        raise ValueError(
            f"{', '.join(missing[:3])} must have a value in the scope before channels are permuted; run "
            "the startup Program first."
        )
    for s in seen:
        array = graph.stored(s.name)
        graph.store(s.name, array.take(s.index(order, array.shape[s.axis]), s.axis))


def reordered(arrays: Mapping[str, np.ndarray], seen: Sequence[Seen], order: np.ndarray) -> dict[str, np.ndarray]:
    """The same for copies of some of the variables."""
    after = dict(arrays)
    for s in seen:
        if s.name in after:
            after[s.name] = after[s.name].take(s.index(order, after[s.name].shape[s.axis]), s.axis)
    return after
