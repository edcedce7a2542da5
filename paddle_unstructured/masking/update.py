"""The mask update on the device: scores -> units -> cut -> masks -> weights, as Programs of ours on the same scope."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Callable, Mapping, Sequence

import numpy as np
import paddle
from paddle import Tensor

from .. import criteria, distributed
from ..allocation import Allocation
from ..criteria import Criterion
from ..graph import Param, PirGraph, is_gathered
from ..graph.in_place import multiply_
from ..patterns import Pattern
from ..ranking.cut import Cut

Feeds = Mapping[str, np.ndarray]
Tensors = Mapping[str, Tensor]  # weights, masks and feeds by name


@dataclass(frozen=True)
class PrunedLayer:
    """One pruned param, and how it is pruned."""

    param: Param
    criterion: Criterion
    pattern: Pattern
    information: Callable[[], str] | None = None  # name of the variable that the criterion also looks at


class MaskUpdate:
    """What can be done to the masks of some params. Every method runs one Program, built at its first call.

    Per layer results come back as arrays [layers].
    """

    def __init__(self, graph: PirGraph, layers: Sequence[PrunedLayer]) -> None:
        self._graph, self._layers = graph, list(layers)
        self._params = [layer.param for layer in layers]
        self._shadows: list[tuple[str, Param]] = []
        self._programs: dict[str, Callable[..., list[np.ndarray]]] = {}

    def prune(self, allocation: Allocation, feeds: Feeds, forget: Sequence[str] = ()) -> tuple[np.ndarray, np.ndarray]:
        """Update masks and weights, and set the variables `forget` to zero.

        Returns weights pruned, and the score at which each layer was cut.
        """

        def build(tensors: Tensors) -> list[Tensor]:
            decision = self._decide(allocation, tensors, feeds)
            for layer, keep in zip(self._layers, decision.keep):
                mask = layer.pattern.spread(keep, layer.param)
                # A product, not an assignment: what was pruned stays pruned, whatever an allocation says.
                multiply_(tensors[layer.param.mask_name], mask.cast(layer.param.dtype))
            self._apply(tensors)
            for name in forget:
                paddle.assign(paddle.zeros_like(tensors[name]), output=tensors[name])
            return [decision.pruned, decision.threshold]

        pruned, threshold = self._run("prune", build, feeds, scored=True)
        return pruned, threshold

    def plan(self, allocation: Allocation, feeds: Feeds) -> tuple[np.ndarray, np.ndarray]:
        """What `prune` would return; nothing is changed."""

        def build(tensors: Tensors) -> list[Tensor]:
            decision = self._decide(allocation, tensors, feeds)
            return [decision.pruned, decision.threshold]

        pruned, threshold = self._run("plan", build, feeds, scored=True)
        return pruned, threshold

    def apply(self) -> np.ndarray:
        """weight = weight * mask, for weights and what is tied to them. Returns weights pruned."""

        def build(tensors: Tensors) -> list[Tensor]:
            self._apply(tensors)
            return [self._zeros_in_masks(tensors)]

        return self._run("apply", build)[0]

    def take_zeros(self) -> np.ndarray:
        """mask = (weight != 0). Returns weights pruned."""

        def build(tensors: Tensors) -> list[Tensor]:
            for param in self._params:
                paddle.assign((tensors[param.name] != 0).cast(param.dtype), output=tensors[param.mask_name])
            return [self._zeros_in_masks(tensors)]

        return self._run("take_zeros", build)[0]

    def kept_magnitude(self) -> np.ndarray:
        """Sum of |weight * mask|; nothing is changed."""

        def build(tensors: Tensors) -> list[Tensor]:
            sizes = (paddle.abs(self._weight(tensors, param)) for param in self._params)
            kept = (
                paddle.where(tensors[param.mask_name] != 0, size, paddle.zeros_like(size))
                for size, param in zip(sizes, self._params)
            )
            return [_stacked(paddle.sum(size).cast("float64") for size in kept)]

        return self._run("kept_magnitude", build)[0]

    def finite(self) -> np.ndarray:
        """Whether each layer's weights, and the scores they get, are free of NaN; bool."""

        def build(tensors: Tensors) -> list[Tensor]:
            flaws = [paddle.any(paddle.isnan(self._weight(tensors, p))) for p in self._params]
            for i, layer in enumerate(self._layers):
                if layer.criterion is not criteria.magnitude:  # which makes NaN of nothing else
                    flaws[i] = paddle.logical_or(flaws[i], paddle.any(paddle.isnan(self._scores(tensors, layer))))
            return [_stacked(paddle.logical_not(flaw) for flaw in flaws)]

        return self._run("finite", build, scored=True)[0]

    def forget_programs(self) -> None:
        """Build Programs anew at their next run: variables they read have come or gone."""
        self._programs.clear()

    def tie(self, shadow: str, param: Param) -> None:
        """Let `apply` and `prune` mask another variable of the scope like a param."""
        self._shadows.append((shadow, param))
        self.forget_programs()

    def _decide(self, allocation: Allocation, tensors: Tensors, feeds: Feeds) -> Cut:
        units = [
            layer.pattern.units(self._scores(tensors, layer), layer.param, tensors[layer.param.mask_name])
            for layer in self._layers
        ]
        alive = [layer.pattern.alive(tensors[layer.param.mask_name], layer.param) for layer in self._layers]
        sizes = [layer.pattern.size(layer.param) for layer in self._layers]
        return allocation.decide(units, alive, sizes, **{name: tensors[name] for name in feeds})

    def _apply(self, tensors: Tensors) -> None:
        for name, param in [(p.name, p) for p in self._params] + self._shadows:
            target, mask = tensors[name], tensors[param.mask_name]
            multiply_(target, mask if mask.dtype == target.dtype else mask.cast(target.dtype))

    def _zeros_in_masks(self, tensors: Tensors) -> Tensor:
        return _stacked(paddle.sum((tensors[param.mask_name] == 0).cast("int64")) for param in self._params)

    def _scores(self, tensors: Tensors, layer: PrunedLayer) -> Tensor:
        information = self._information(tensors, layer) if layer.information else None
        return criteria.scores(layer.criterion, self._weight(tensors, layer.param), layer.param, information)

    @staticmethod
    def _information(tensors: Tensors, layer: PrunedLayer) -> Tensor:
        found = tensors[layer.information()]
        # What was gathered is each rank's own; all must score alike, or the masks would differ.
        return distributed.average([found])[0] if is_gathered(layer.information()) else found

    @staticmethod
    def _weight(tensors: Tensors, param: Param) -> Tensor:
        weight = tensors[param.name]
        return weight if param.dtype in ("float32", "float64") else weight.cast("float32")

    def _run(
        self,
        name: str,
        build: Callable[[Tensors], list[Tensor]],
        feeds: Feeds = MappingProxyType({}),
        scored: bool = False,
    ) -> list[np.ndarray]:
        if name not in self._programs:
            shapes = {feed: (value.shape, str(value.dtype)) for feed, value in feeds.items()}
            others = [shadow for shadow, _ in self._shadows]
            if scored:
                others += [layer.information() for layer in self._layers if layer.information]
            self._programs[name] = self._graph.side_program(self._params, others, shapes, build)
        return self._programs[name](**feeds)


def _stacked(values: Any) -> Tensor:
    return paddle.stack(list(values))
