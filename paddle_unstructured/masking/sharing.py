# SPDX-License-Identifier: Apache-2.0
"""Masks that several pruners share: they belong to the scope, and so does what is known of them.

Pruners of one Program, and of several Programs over the same weights, find each other here. What one has pruned stays
pruned for all, and each reports its own selection as it is now.
"""

from __future__ import annotations

import weakref
from typing import Any, Hashable, Sequence

import numpy as np


class SharedMasks:
    """What is known of the masks of one scope. Get it by `masks_in(scope)`."""

    def __init__(self) -> None:
        self._pruned: dict[Hashable, int] = {}
        self._users: weakref.WeakKeyDictionary[Any, frozenset[Hashable]] = weakref.WeakKeyDictionary()

    def pruned(self, masks: Sequence[Hashable]) -> np.ndarray:
        """Weights that each mask holds at zero, int64 [masks]. Masks are known by `graph.key_of(param)`."""
        return np.array([self._pruned.get(mask, 0) for mask in masks], "int64")

    def count(self, masks: Sequence[Hashable], pruned: np.ndarray) -> None:
        """Note the weights that each mask holds at zero now."""
        self._pruned.update((mask, int(n)) for mask, n in zip(masks, pruned))

    def join(self, pruner: Any, masks: Sequence[Hashable]) -> None:
        """Note who works on these masks, for as long as the pruner lives."""
        self._users[pruner] = frozenset(masks)

    def others(self, pruner: Any) -> set[Hashable]:
        """The masks that another pruner works on, too."""
        mine = self._users.get(pruner, frozenset())
        return {mask for other, masks in self._users.items() if other is not pruner for mask in masks & mine}


_of_scope: weakref.WeakKeyDictionary[Any, SharedMasks] = weakref.WeakKeyDictionary()
_of_layers = SharedMasks()


def masks_in(scope: Any) -> SharedMasks:
    """The masks of a scope; the same object for every pruner of it. None: the masks of nn.Layers, of all of them."""
    if scope is None:
        return _of_layers
    return _of_scope.setdefault(scope, SharedMasks())
