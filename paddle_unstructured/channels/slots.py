# SPDX-License-Identifier: Apache-2.0
"""Channels that live and die together: slots (the channels of activations), joined into units."""

from __future__ import annotations

from typing import Sequence, Union

import numpy as np

Slots = Union[Sequence[int], np.ndarray]


class Units:
    """A union of sets of slots; a pinned slot pins its unit."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._pins: dict[int, str] = {}  # slot -> why it stays; the first reason given
        self._places: dict[int, str] = {}  # those of them that cannot change places either

    def new(self, count: int) -> np.ndarray:
        """Slots of an axis whose channels nobody has seen yet."""
        start = len(self._parent)
        self._parent += range(start, start + count)
        return np.arange(start, start + count)

    def join(self, first: Slots, second: Slots) -> None:
        """Slot i of the first and slot i of the second are kept or removed together."""
        for one, other in zip(first, second):
            a, b = sorted((self._root(one), self._root(other)))
            self._parent[b] = a

    def pin(self, slots: Slots, reason: str, *, movable: bool = False) -> None:
        """Slots that must not be removed.

        Args:
            slots: Which.
            reason: Why, as a clause.
            movable: Whether they may change places with others of their kind: only their number counts.
        """
        for slot in slots:
            self._pins.setdefault(int(slot), reason)
            if not movable:
                self._places.setdefault(int(slot), reason)

    def roots(self) -> np.ndarray:
        """The unit of every slot, named by its lowest slot, int64 [slots]."""
        return np.array([self._root(slot) for slot in range(len(self._parent))], np.int64)

    def pins(self) -> dict[int, str]:
        """Units that must not be removed: root -> reason."""
        return self._by_root(self._pins)

    def places(self) -> dict[int, str]:
        """Units that must not change places: root -> reason."""
        return self._by_root(self._places)

    def _by_root(self, pins: dict[int, str]) -> dict[int, str]:
        found: dict[int, str] = {}
        for slot, reason in pins.items():
            found.setdefault(self._root(slot), reason)
        return found

    def _root(self, slot: int) -> int:
        while self._parent[slot] != slot:
            self._parent[slot] = slot = self._parent[self._parent[slot]]
        return slot
