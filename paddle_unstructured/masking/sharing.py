"""Masks that several pruners share: they belong to the scope, and so does what is known of them.

Pruners of one Program, and of several Programs over the same weights, find each other here. What one has pruned stays
pruned for all, and each reports its own selection as it is now.
"""

from __future__ import annotations

import weakref
from typing import Any, Sequence

import numpy as np

from ..graph import Param


class SharedMasks:
    """What is known of the masks of one scope. Get it by `masks_in(scope)`."""

    def __init__(self) -> None:
        self._pruned: dict[str, int] = {}
        self._users: weakref.WeakKeyDictionary[Any, frozenset[str]] = weakref.WeakKeyDictionary()

    def pruned(self, params: Sequence[Param]) -> np.ndarray:
        """Weights that each param's mask holds at zero, int64 [params]."""
        return np.array([self._pruned.get(param.mask_name, 0) for param in params], "int64")

    def count(self, params: Sequence[Param], pruned: np.ndarray) -> None:
        """Note the weights that each param's mask holds at zero now."""
        self._pruned.update((param.mask_name, int(n)) for param, n in zip(params, pruned))

    def join(self, pruner: Any, params: Sequence[Param]) -> None:
        """Note who works on these params, for as long as the pruner lives."""
        self._users[pruner] = frozenset(param.name for param in params)

    def others(self, pruner: Any) -> set[str]:
        """Names of the params that another pruner works on, too."""
        mine = self._users.get(pruner, frozenset())
        return {name for other, names in self._users.items() if other is not pruner for name in names & mine}


_of_scope: weakref.WeakKeyDictionary[Any, SharedMasks] = weakref.WeakKeyDictionary()


def masks_in(scope: Any) -> SharedMasks:
    """The masks of a scope; the same object for every pruner of it."""
    return _of_scope.setdefault(scope, SharedMasks())
