# SPDX-License-Identifier: Apache-2.0
"""The layers that one pruner works on, and their masks: kept in step with a Program or an nn.Layer that grows."""

from __future__ import annotations

import logging
from typing import Any, Hashable, Mapping, Sequence

import numpy as np

from .. import distributed
from ..graph import Graph, LayerGraph, Param
from ..reporting import report
from . import notices
from .plan import PruningPlan
from .sharing import masks_in
from .update import MaskUpdate

_log = logging.getLogger(__name__)


class MaskedLayers:
    """The layers of a plan with masks in the graph. Counts per layer are arrays [layers], int64.

    Other pruners of the scope know of them for as long as this object lives, and all work on the same masks.

    Args:
        graph: graph that gets the masks.
        plan: which layers, and how each is pruned.

    Attributes:
        plan: plan that holds now; it has other layers once some have come or gone before the first update.
        params: its params.
        sizes: weights of each.
    """

    def __init__(self, graph: Graph, plan: PruningPlan) -> None:
        self._graph = graph
        self._take(plan)
        self._device = MaskUpdate(graph, plan.layers)
        self._notices = notices.Notices()
        self._shared = masks_in(graph.scope)
        self._shared.join(self, self._keys)
        self._begin_with(graph.declare_masks(self.params))
        graph.attach()
        if isinstance(graph, LayerGraph):
            graph.wait_for_a_forward()

    def _take(self, plan: PruningPlan) -> None:
        self.plan, self.params = plan, plan.params
        self.sizes = np.array([param.size for param in self.params])

    # -- counts

    @property
    def pruned(self) -> np.ndarray:
        """Weights that the masks hold at zero, by whatever pruner."""
        return self._shared.pruned(self._keys)

    @pruned.setter
    def pruned(self, pruned: np.ndarray) -> None:
        self._shared.count(self._keys, pruned)
        self._cut = pruned  # what this object's own cuts made, or found

    @property
    def sparsity(self) -> float:
        """Fraction of all weights of the layers that the masks hold at zero."""
        return int(self.pruned.sum()) / int(self.sizes.sum())

    def kept_magnitude(self) -> np.ndarray:
        """Sum of |w| over the weights that the masks keep, float64 [layers]."""
        self._check_initialized()
        return self._device.kept_magnitude()

    # -- what masks do

    def prune(self, sparsity: float, *, step: int) -> float | None:
        """Update the masks for a sparsity, and the weights by them; criteria that watch begin their sums anew.

        Returns:
            The highest score at which a layer was cut; None if nothing fell in any of them.

        Raises:
            ValueError: A weight is NaN or has no value; nothing is changed.
        """
        distributed.synchronize(self._graph)
        self._check_initialized()
        budget, before = self.plan.budget(sparsity), self.pruned
        gathered = [name for gathering in self.plan.gatherings for name in gathering.names]
        self.pruned, thresholds = self._device.prune(self.plan.allocation, budget, step=step, forget=gathered)
        for gathering in self.plan.gatherings:
            gathering.start_over()
        _log.debug("step %d: %d of %d weights pruned", step, self.pruned.sum(), self.sizes.sum())
        if budget.thresholds is None:
            self._notices.held(self.params, self.pruned, budget.low, budget.high, step)
        notices.empty_layers(self.params, before, self.pruned)
        self._notices.empty_norms(self._graph, self.params)
        return _highest(thresholds)

    def threshold(self, sparsity: float, *, step: int) -> float | None:
        """What `prune` would return; nothing is changed."""
        self._check_initialized()
        _, thresholds = self._device.plan(self.plan.allocation, self.plan.budget(sparsity), step=step)
        return _highest(thresholds)

    def apply(self) -> bool:
        """weight = weight * mask, for weights and what is tied to them.

        Returns:
            Whether a mask holds another number of units than was known: it may have been loaded.
        """
        self._check_initialized()
        before, now = self.pruned, self._device.apply()
        self._shared.count(self._keys, now)
        differs = before != now
        if not differs.any():
            return False
        is_other = differs & (np.abs(now - self._cut) >= self._device.units())  # less: a short unit for a whole one
        if is_other.any():
            self._cut = now
        return bool(is_other.any())

    def take_zeros(self) -> None:
        """mask = (weight != 0)."""
        self._check_initialized()
        before, self.pruned = self.pruned, self._device.take_zeros()
        notices.empty_layers(self.params, before, self.pruned)

    def set(self, masks: Mapping[str, np.ndarray]) -> None:
        """Set masks, by param, to bool arrays; what another pruner has pruned stays pruned. `apply` zeroes the weights.

        Raises:
            ValueError: A weight has no value; nothing is changed.
        """
        self._check_initialized()
        shared = self._shared.others(self)
        for param in self.params:
            if param.name in masks:
                ours = self._graph.mask(param) if self._graph.key_of(param) in shared else True
                self._graph.set_mask(param, masks[param.name] & ours)

    def tie(self, shadow: str, owner: Param) -> None:
        """Let another variable of the graph be masked as a param is."""
        if self._graph.tie(shadow, owner):
            self._device.tie(shadow, owner)

    # -- what comes after the pruner

    def attach(self, *, begun: bool, thoroughly: bool) -> bool:
        """Let the Program end with the masks, whatever has come to it.

        If an optimizer has, look again at what is trained: before the first update the layers become those that a
        pruner made now would choose; after it, newcomers stay dense.

        Args:
            begun: whether the masks were updated.
            thoroughly: whether to look for layers beside the pruned ones that have come to an nn.Layer.

        Returns:
            Whether there are other layers now.
        """
        is_attached, has_changed, chosen_again = self._graph.is_attached, False, False
        if thoroughly or not is_attached:
            pruned = self.pruned
            has_changed = isinstance(self._graph, LayerGraph) and self._graph.follow()
            if has_changed:  # the parameters may be others, under other keys
                self._shared.join(self, self._keys)
                self.pruned = pruned
        if has_changed or not is_attached:
            if begun or self.pruned.any():
                known = {param.name for param in self.params}
                notices.newcomers_dense(self.plan.look(self.params).pruned, known, self._newcomer(has_changed))
            else:
                chosen_again = self._choose_again(has_changed)
        self._graph.attach()
        return chosen_again

    def _choose_again(self, has_changed: bool) -> bool:
        plan = self.plan.again(self._graph)
        if plan.layers is self.plan.layers:
            self.plan = plan
            return False
        for gathering in self.plan.gatherings:
            if gathering.attached:
                gathering.release()
        before, left = {param.name for param in self.params}, {param.name for param in plan.params}
        if left - before:
            notices.newcomers_pruned(plan.params, before, self._newcomer(has_changed))
        self._graph.let_go([param for param in self.params if param.name not in left])
        self._take(plan)
        self._device = self._device.over(plan.layers)
        self._shared.join(self, self._keys)
        kept = self._graph.declare_masks(self.params)
        self._begin_with(kept if left - before else [])
        return True

    def _begin_with(self, kept: Sequence[Param]) -> None:
        """Begin with the masks that are there already."""
        held = {param.name: param.size - int(self._graph.mask(param).sum()) for param in kept}
        self.pruned = np.array([held.get(param.name, 0) for param in self.params])
        others = bool(self._shared.others(self))
        if others or any(held.values()):
            notices.taken_over(self.params, held, others=others)

    def _newcomer(self, has_changed: bool) -> tuple[str, str]:
        """What came, and what it does to weights that are found by it."""
        if has_changed:
            return "a layer", "has"
        return ("an optimizer", "trains") if self.inputs is None else ("a forward", "tells what reads")

    @property
    def inputs(self) -> Any:
        """What a Layer was called with, where its first forward, or a state, told what weights are for; else None."""
        return self._graph.inputs if isinstance(self._graph, LayerGraph) else None

    @property
    def _keys(self) -> list[Hashable]:
        """What the masks are known by to other pruners."""
        return [self._graph.key_of(param) for param in self.params]

    def _check_initialized(self) -> None:
        report.check_initialized(self._graph, self.params)


def _highest(thresholds: np.ndarray) -> float | None:
    """The highest of the layers' thresholds, NaN where nothing fell."""
    found = thresholds[~np.isnan(thresholds)]
    return float(found.max()) if found.size else None
