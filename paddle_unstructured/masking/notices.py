# SPDX-License-Identifier: Apache-2.0
"""What a pruner tells the log: what nobody asked for, once for each layer."""

from __future__ import annotations

import logging
from typing import Collection, Mapping, Sequence

import numpy as np

from ..graph import Graph, Param

_log = logging.getLogger(__name__)


class Notices:
    """Logs once what would be the same at every update."""

    def __init__(self) -> None:
        self._held: set[str] = set()  # layers that a bound has held
        self._without_norm: set[str] = set()  # layers that are 0 / 0 in a row

    def held(self, params: Sequence[Param], pruned: np.ndarray, low: np.ndarray, high: np.ndarray, step: int) -> None:
        """Layers that would have lost more, had no floor or limit held them."""
        held = {p.name for p, n, least, most in zip(params, pruned, low, high) if p.size > n >= most > least}
        if held - self._held:
            _log.info(
                "step %d: a floor or a limit keeps these layers from losing more: %s",
                step,
                ", ".join(sorted(held - self._held)),
            )
        self._held |= held

    def empty_norms(self, graph: Graph, params: Sequence[Param]) -> None:
        """Rows without a weight that are divided by their own norm."""
        for param in params:
            if param.normed and param.name not in self._without_norm:
                others = tuple(axis for axis in range(len(param.shape)) if axis not in param.normed)
                empty = int((~graph.mask(param).any(axis=others)).sum())
                if empty:
                    self._without_norm.add(param.name)
                    _log.warning(
                        "no weight is left in %d rows of %s, which are divided by their own norm: 0 / 0 is NaN; give "
                        "the norm an epsilon, or leave the layer out with `select`",
                        empty,
                        param.name,
                    )


def empty_layers(params: Sequence[Param], before: np.ndarray, pruned: np.ndarray) -> None:
    """Layers that have lost their last weight since `before`."""
    empty = [p.name for p, was, now in zip(params, before, pruned) if now == p.size > was]
    if empty:
        _log.warning("no weight is left in %s; what is behind it gets no signal", ", ".join(empty))


def misfits(left: Mapping[str, str], what: str) -> None:
    """What a partial load has left as it was, and why."""
    if left:
        listed = ", ".join(f"{name} ({why})" for name, why in left.items())
        _log.warning("%d %s are not loaded: %s", len(left), what, listed)


def taken_over(params: Sequence[Param], held: Mapping[str, int], *, others: bool) -> None:
    """Masks that were there before the pruner.

    Args:
        params: Those of the pruner.
        held: Weights that each of these masks holds at zero, by param.
        others: Whether another pruner still works on them.
    """
    if not held:
        _log.warning(
            "another pruner works on params of these names in this scope, but the weights do not have its zeros: all "
            "masks begin anew; give each Program a scope of its own where they are not meant to share weights"
        )
        return
    _log.warning(
        "%d of the %d params have masks already, %s: another pruner %s; what it has pruned, %d weights, stays pruned",
        len(held),
        len(params),
        ", ".join(held),
        "works on them too" if others else "has worked on these weights",
        sum(held.values()),
    )


def newcomers_pruned(params: Sequence[Param], known: Collection[str], came: tuple[str, str]) -> None:
    """Params that came after the pruner and before its first update.

    Args:
        params: All that are pruned now.
        known: Names of those that were before.
        came: What came, and what it does to a param: ("an optimizer", "trains").
    """
    _log.warning(
        "%s that came after the pruner %s %s; they are pruned too, as they would be had it come "
        "before: leave them out with `select` if that is not meant",
        *came,
        ", ".join(param.name for param in params if param.name not in known),
    )


def newcomers_dense(params: Sequence[Param], known: Collection[str], came: tuple[str, str]) -> None:
    """Params that came after the first update, and would make a jump in the others if they were pruned now.

    Args:
        params: All that a pruner made now would prune.
        known: Names of those that are pruned.
        came: As for `newcomers_pruned`.
    """
    new = [param for param in params if param.name not in known]
    if new:
        _log.warning(
            "%s that came after the first mask update %s %s, %d weights, which stay dense: it belongs before the "
            "first step(); or make a pruner for these",
            *came,
            ", ".join(param.name for param in new),
            sum(param.size for param in new),
        )
