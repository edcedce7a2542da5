# SPDX-License-Identifier: Apache-2.0
"""The mask update on the device: scores -> units -> cut -> masks -> weights, eagerly and in place."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from math import prod
from typing import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import paddle
from paddle import Tensor

from .. import criteria, distributed
from ..allocation import Allocation, Quota
from ..criteria import Criterion
from ..graph import Graph, Param, is_gathered
from ..graph.in_place import mask_, multiply_
from ..patterns import Boxes, Pattern
from ..ranking.boxes import grid
from ..ranking.cut import Cut, Size
from .own_parts import decided, is_ours, spread_of, units_of

Tensors = Mapping[str, Tensor]  # weights, masks and what criteria look at, by name
_EXACT = ("float32", "float64")  # all others are scored as float32


@dataclass(frozen=True)
class PrunedLayer:
    """One pruned param, and how it is pruned."""

    param: Param
    criterion: Criterion
    pattern: Pattern
    information: Callable[[], str] | None = None  # name of the variable that the criterion also looks at


class MaskUpdate:
    """What can be done to the masks of some params. Per layer results come back as arrays [layers].

    Args:
        graph: Gives the tensors that the names stand for, `graph.tensors(names)`, with the memory they are stored in.
        layers: In the order in which equal scores fall.
    """

    def __init__(self, graph: Graph, layers: Sequence[PrunedLayer]) -> None:
        self._graph, self._layers = graph, list(layers)
        self._params = [layer.param for layer in layers]
        self._shadows: list[tuple[str, Param]] = []

    def over(self, layers: Sequence[PrunedLayer]) -> MaskUpdate:
        """The same for other layers, with what is tied to those that are still among them."""
        other = MaskUpdate(self._graph, layers)
        names = {layer.param.name for layer in layers}
        other._shadows = [(shadow, param) for shadow, param in self._shadows if param.name in names]
        return other

    def prune(
        self, allocation: Allocation, budget: Quota, *, step: int, forget: Sequence[str] = ()
    ) -> tuple[np.ndarray, np.ndarray]:
        """Update masks and weights, and set the variables `forget` to zero.

        Returns:
            Weights pruned, and the score at which each layer was cut.

        Raises:
            ValueError: A weight, or a score it gets, is not a number; nothing is changed.
        """
        with self._tensors(forget, scored=True) as tensors:
            decision = self._decide(allocation, tensors, budget, step)
            spread = [
                None if is_ours(layer.pattern) else spread_of(layer.pattern, keep, layer.param)
                for layer, keep in zip(self._layers, decision.keep)
            ]  # all of them before the first mask changes
            for layer, keep, of_weights in zip(self._layers, decision.keep, spread):
                mask = tensors[layer.param.mask_name]
                _drop(mask, keep, layer) if of_weights is None else mask_(mask, of_weights)
            self._apply(tensors)
            for name in forget:
                paddle.assign(paddle.zeros_like(tensors[name]), output=tensors[name])
            return decision.pruned.numpy(), decision.threshold.numpy()

    def plan(self, allocation: Allocation, budget: Quota, *, step: int) -> tuple[np.ndarray, np.ndarray]:
        """What `prune` would return; nothing is changed."""
        with self._tensors(scored=True) as tensors:
            decision = self._decide(allocation, tensors, budget, step)
            return decision.pruned.numpy(), decision.threshold.numpy()

    def apply(self) -> np.ndarray:
        """weight = weight * mask, for weights and what is tied to them. Returns weights pruned."""
        with self._tensors() as tensors:
            self._apply(tensors)
            return self._zeros_in_masks(tensors)

    def take_zeros(self) -> np.ndarray:
        """mask = (weight != 0). Returns weights pruned."""
        with self._tensors() as tensors:
            for param in self._params:
                paddle.assign((tensors[param.name] != 0).cast(param.dtype), output=tensors[param.mask_name])
            return self._zeros_in_masks(tensors)

    def kept_magnitude(self) -> np.ndarray:
        """Sum of |weight * mask|; nothing is changed."""
        with self._tensors() as tensors:
            return _stacked(paddle.sum(self._kept_magnitude(tensors, param)).cast("float64") for param in self._params)

    def units(self) -> np.ndarray:
        """Weights of each layer's largest unit."""
        with self._graph.tensors([]):
            sizes = [layer.pattern.size(layer.param) for layer in self._layers]
            return np.array([size if isinstance(size, int) else int(size.max()) for size in sizes])

    def tie(self, shadow: str, param: Param) -> None:
        """Let `apply` and `prune` mask another variable of the scope like a param."""
        self._shadows.append((shadow, param))

    @contextlib.contextmanager
    def _tensors(self, others: Sequence[str] = (), *, scored: bool = False) -> Iterator[Tensors]:
        """Weights, masks, shadows and other variables by name; if they are scored, what criteria look at, too."""
        names = [name for param in self._params for name in (param.name, param.mask_name)]
        names += [shadow for shadow, _ in self._shadows] + list(others)
        if scored:
            names += [layer.information() for layer in self._layers if layer.information]
        with self._graph.tensors(dict.fromkeys(names)) as tensors:
            yield tensors

    def _decide(self, allocation: Allocation, tensors: Tensors, budget: Quota, step: int) -> Cut:
        informed = list(zip(self._layers, self._information(tensors)))
        units, alive, sizes, sums = list[Tensor](), list[Tensor](), list[Size](), list[Tensor]()
        for layer, information in informed:
            weight, scores = _scores(layer, tensors, information)
            mask = as_scored(tensors[layer.param.mask_name])
            sums.append(paddle.sum(scores))
            if layer.criterion is not criteria.magnitude:  # which is as sound as the weight
                sums[-1] = sums[-1] + paddle.sum(weight)
            for one, of_all in zip(units_of(layer.pattern, scores, layer.param, mask), (units, alive, sizes)):
                of_all.append(one)
        sums, units, alive = _comparable(sums), _comparable(units), _comparable(alive)
        doubtful = [pair for pair, finite in zip(informed, np.isfinite(_stacked(sums))) if not finite]
        flawed = [layer.param.name for layer, known in doubtful if not is_sound(*_scores(layer, tensors, known))]
        if flawed:
            raise ValueError(
                f"NaN or infinity in the weights, or NaN in the scores they get, of {', '.join(flawed)} at step "
                f"{step}; the masks were not updated. Look for the step that made it, a lower learning rate helps."
            )
        return decided(allocation, units, alive, sizes, budget)

    def _information(self, tensors: Tensors) -> list[Tensor | None]:
        """What each layer's criterion looks at beside the weight."""
        names = [layer.information() if layer.information else None for layer in self._layers]
        # What was gathered is each rank's own; all must score alike, or the masks would differ.
        gathered = [name for name in names if name is not None and is_gathered(name)]
        known = {**tensors, **dict(zip(gathered, distributed.average([tensors[name] for name in gathered])))}
        return [None if name is None else known[name] for name in names]

    def _apply(self, tensors: Tensors) -> None:
        for name, param in [(p.name, p) for p in self._params] + self._shadows:
            mask_(tensors[name], tensors[param.mask_name])

    def _zeros_in_masks(self, tensors: Tensors) -> np.ndarray:
        return _stacked(paddle.sum((tensors[param.mask_name] == 0).cast("int64")) for param in self._params)

    @staticmethod
    def _kept_magnitude(tensors: Tensors, param: Param) -> Tensor:
        size = paddle.abs(as_scored(tensors[param.name]))
        return paddle.where(tensors[param.mask_name] != 0, size, paddle.zeros_like(size))


def _drop(mask: Tensor, keep: Tensor, layer: PrunedLayer) -> None:
    """mask = mask * keep, in place. A product: what was pruned stays pruned, whatever an allocation says."""
    param, pattern = layer.param, layer.pattern
    if isinstance(pattern, Boxes) and mask.dtype == keep.dtype:
        shape, widths = grid(param.shape, pattern.extents(param))
        whole = [units * width for units, width in zip(shape, widths)]
        if prod(whole) == param.size:  # no box is short: without the tensor of spread units, which is what costs
            multiply_(mask.reshape(whole), keep.reshape(shape))
            return
    mask_(mask, pattern.spread(keep, param))


def as_scored(tensor: Tensor) -> Tensor:
    """A weight or mask in the dtype that scores have: half precision as float32."""
    return tensor if str(tensor.dtype).split(".")[-1] in _EXACT else tensor.cast("float32")


def _comparable(tensors: list[Tensor]) -> list[Tensor]:
    """In one dtype, where layers of float32 and of float64 are in one race."""
    return tensors if len({tensor.dtype for tensor in tensors}) < 2 else [tensor.cast("float64") for tensor in tensors]


def is_sound(weight: Tensor, scores: Tensor) -> bool:
    """Whether all weights are finite, and no score is NaN."""
    return bool(paddle.all(paddle.isfinite(weight))) and not bool(paddle.any(paddle.isnan(scores)))


def _scores(layer: PrunedLayer, tensors: Tensors, information: Tensor | None) -> tuple[Tensor, Tensor]:
    """The weight in the dtype in which it is scored, and its scores."""
    weight = as_scored(tensors[layer.param.name])
    if layer.criterion is criteria.magnitude and isinstance(layer.pattern, Boxes):
        return weight, weight  # norms look at magnitudes by themselves
    return weight, criteria.scores(layer.criterion, weight, layer.param, information)


def _stacked(values: Iterable[Tensor]) -> np.ndarray:
    return np.asarray(paddle.stack(list(values)).numpy())
