# SPDX-License-Identifier: Apache-2.0
"""Who competes with whom for the budget: how many weights each layer may or must lose at an overall sparsity.

An allocation works out whole numbers per layer on the host (they depend on shapes and on the sparsity only), and the
cut on the device finds the units. The overall number is met exactly within the bounds: what one layer may not lose,
the others lose instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import floor, prod
from typing import Any, Callable, Mapping, Protocol, Sequence, Union, runtime_checkable

import numpy as np
import paddle
from paddle import Tensor

from .arguments import StrPath, fraction, number, whole, wrong_kind
from .formats.yaml import read_yaml
from .graph.base import Param
from .ranking.cut import Cut, Size, cut
from .ranking.lamp import lamp_cut


@dataclass(frozen=True)
class Quota:
    """What may fall at one update: a number of weights, or what scores below a threshold.

    Attributes:
        total: weights to be pruned over all layers.
        low: fewest pruned weights of each layer, int64 [layers].
        high: most pruned weights of each layer, int64 [layers].
        thresholds: score below which a unit falls, float64 [layers], whatever numbers that makes; None where the
            numbers decide.
    """

    total: int
    low: np.ndarray
    high: np.ndarray
    thresholds: np.ndarray | None = None


Budget = Quota  # what it was called before a budget in milliseconds took the name


class Allocation(Protocol):
    """Any object with these three methods is an allocation."""

    def budget(self, params: Sequence[Param], sparsity: float, limits: Sequence[int]) -> Quota:
        """What `decide` is given at an update; `limits` are the most weights the pattern can take from each layer.

        Raises:
            ValueError: The sparsity cannot be reached within the bounds.
        """

    def decide(self, units: list[Tensor], alive: list[Tensor], sizes: list[Size], budget: Quota) -> Cut:
        """Which units stay, on the device: `by_rank(...)`, where the numbers of the budget decide."""

    def due(self, step: int, sparsity: float, applied: float) -> bool:
        """Whether the masks are to be updated at this step, `applied` being the sparsity of the last update.

        It is asked more than once at a step, and beforehand of later steps.
        """


@runtime_checkable
class OwnSparsity(Protocol):
    """An allocation that means a sparsity by itself: what is pruned to where neither ratio nor schedule is given."""

    def sparsity(self, params: Sequence[Param]) -> float:
        """The overall sparsity of these params."""


@runtime_checkable
class OfModel(Protocol):
    """What must see a model and data to become an allocation, as a budget in time must."""

    def fitted(self, model: Any, batches: Sequence[Any], *, pattern: Any, select: Any, seed: int) -> FittedAllocation:
        """The allocation for an inference model and data that are split into parts."""


class FittedAllocation(Allocation, Protocol):
    """An allocation that says afterwards what it came to."""

    def named(self, names: Mapping[str, str]) -> FittedAllocation:
        """The same under other names of the params."""

    def measure(self, model: Any) -> FittedAllocation:
        """The same with what was measured on the pruned model."""


def by_rank(
    units: list[Tensor], alive: list[Tensor], sizes: list[Size], budget: Quota, *, rule: Callable[..., Cut] = cut
) -> Cut:
    """Drop the lowest scored units until the budget's total is pruned, within its bounds.

    Args:
        units: scores per layer, as `Pattern.units` gives them.
        alive: units that live per layer, as `Pattern.alive` gives them.
        sizes: weights per unit of each layer.
        budget: numbers of weights.
        rule: race of all layers, `ranking.cut.cut` or `ranking.lamp.lamp_cut`.
    """
    low, high = (paddle.to_tensor(np.asarray(bound, "int64")) for bound in (budget.low, budget.high))
    return rule(units, alive, sizes, total=paddle.full([1], budget.total, "int64"), low=low, high=high)


class _Ranked:
    """By rank: exact numbers of weights, whatever their values are."""

    min_sparsity: float
    max_sparsity: float

    def __post_init__(self) -> None:
        fraction("min_sparsity", self.min_sparsity)
        fraction("max_sparsity", self.max_sparsity)
        if self.min_sparsity > self.max_sparsity:
            raise ValueError(
                f"`min_sparsity` must be <= `max_sparsity`, got {self.min_sparsity} > {self.max_sparsity}."
            )

    def decide(self, units: list[Tensor], alive: list[Tensor], sizes: list[Size], budget: Quota) -> Cut:
        return by_rank(units, alive, sizes, budget)

    def due(self, step: int, sparsity: float, applied: float) -> bool:
        return sparsity > applied

    def _bounds(self, params: Sequence[Param], sparsity: float, limits: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        sizes = _sizes(params)
        low = np.floor(min(self.min_sparsity, sparsity) * sizes).astype("int64")
        high = np.minimum([round(self.max_sparsity * size) for size in sizes.tolist()], limits).astype("int64")
        return np.minimum(low, high), high

    def _floored(self, floor: float, params: Sequence[Param], sparsity: float, limits: Sequence[int]) -> Quota:
        """No layer keeps less than `floor` times the overall density, if the total can be met so."""
        sizes, total = _sizes(params), _total(params, sparsity)
        low, high = self._bounds(params, sparsity, limits)
        kept = floor * (1.0 - sparsity) * sizes
        # In tiny layers rounding up can ask for more than may be kept at all; then round down. Where a pattern takes
        # little of other layers there may be no room for a floor.
        for rounded in (np.ceil(kept - 1e-9), np.floor(kept), np.zeros_like(kept)):
            floored = np.maximum(np.minimum(high, sizes - rounded.astype("int64")), low)
            if floored.sum() >= total:
                break
        return Quota(total, low, floored)


@dataclass(frozen=True)
class Global(_Ranked):
    """All layers in one race: the round(sparsity * n) lowest scores of all n weights fall, wherever they are.

    No layer keeps less than `floor` times the overall density: ceil(floor * (1 - sparsity) * n_layer) weights. Without
    it, a race at 95 % can empty a whole layer of a small net, and with it the net's accuracy.

    Args:
        floor: In [0, 1]; 0 = none, 1 = every layer exactly the overall sparsity.
        min_sparsity: No layer loses less than this fraction, or than the overall sparsity where that is less.
        max_sparsity: No layer loses more than this fraction.

    Raises:
        ValueError: A value outside [0, 1].
    """

    floor: float = 0.3
    min_sparsity: float = 0.0
    max_sparsity: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        fraction("floor", self.floor, rule="in [0, 1]", hint="0 switches it off")

    def budget(self, params: Sequence[Param], sparsity: float, limits: Sequence[int]) -> Quota:
        return _reachable(self, self._floored(self.floor, params, sparsity, limits), sparsity, params)


@dataclass(frozen=True)
class LAMP(_Ranked):
    """Layer-adaptive magnitudes: one race in which a weight counts by its share of what its layer would keep.

    s(u) = u^2 / sum of v^2 over the weights v of the layer with |v| >= |u|

    for scores u; the highest of a layer always has s = 1, so no layer is emptied while another has weights to spare.

    Args:
        min_sparsity, max_sparsity, floor: As for `Global`; no floor by default, and 0.4 in `reconstruct`.

    Source: Lee et al. 2021, arXiv:2010.07611.
    """

    min_sparsity: float = 0.0
    max_sparsity: float = 1.0
    floor: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        fraction("floor", self.floor, rule="in [0, 1]", hint="0 switches it off")

    def budget(self, params: Sequence[Param], sparsity: float, limits: Sequence[int]) -> Quota:
        return _reachable(self, self._floored(self.floor, params, sparsity, limits), sparsity, params)

    def decide(self, units: list[Tensor], alive: list[Tensor], sizes: list[Size], budget: Quota) -> Cut:
        return by_rank(units, alive, sizes, budget, rule=lamp_cut)


@dataclass(frozen=True)
class Uniform(_Ranked):
    """Every layer by itself loses round(sparsity * n_layer) weights. PaddleSlim's `local_sparsity=True`.

    Args:
        min_sparsity, max_sparsity: As for `Global`; where they bind, the other layers share the rest evenly.
    """

    min_sparsity: float = 0.0
    max_sparsity: float = 1.0

    def budget(self, params: Sequence[Param], sparsity: float, limits: Sequence[int]) -> Quota:
        low, high = self._bounds(params, sparsity, limits)
        each = np.array([round(sparsity * param.size) for param in params], "int64")
        if (each > high).any():
            total = _total(params, sparsity)
            _reachable(self, Quota(total, low, high), sparsity, params)
            each = _shared(total, _sizes(params), low, high)
        return Quota(int(each.sum()), each, each)


@dataclass(frozen=True)
class ERK(_Ranked):
    """Erdos-Renyi-Kernel: density of a layer in proportion to (out + in + kernel extents) / (out * in * kernel).

    Small layers and thin ones stay denser than large square ones; only shapes decide.

    Args:
        min_sparsity, max_sparsity: As for `Global`.

    Source: Mocanu et al. 2018, arXiv:1707.04780; Evci et al. 2020, arXiv:1911.11134 (with kernels).
    """

    min_sparsity: float = 0.0
    max_sparsity: float = 1.0

    def budget(self, params: Sequence[Param], sparsity: float, limits: Sequence[int]) -> Quota:
        sizes, total = _sizes(params), _total(params, sparsity)
        low, high = self._bounds(params, sparsity, limits)
        _reachable(self, Quota(total, low, high), sparsity, params)
        wanted = np.array([sum(param.shape) * param.size / prod(param.shape) for param in params])
        each = sizes - _shared(int(sizes.sum()) - total, wanted, sizes - high, sizes - low)
        return Quota(total, each, each)


@dataclass(frozen=True)
class PerLayer(_Ranked):
    """A sparsity of its own for every layer, by name or regular expression.

    While a schedule's sparsity is below that of the whole, every layer has its proportion of it.

    Args:
        sparsities: Name, or regular expression that matches a whole name, -> sparsity in [0, 1]. A name wins over an
            expression, an earlier expression over a later one. A layer that none matches loses nothing.

    Raises:
        ValueError: A sparsity outside [0, 1]; a key that fits no layer; an overall sparsity above that of the whole.
    """

    sparsities: Mapping[str, float]
    min_sparsity: float = 0.0
    max_sparsity: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        given: object = self.sparsities
        if not isinstance(given, Mapping) or not given:
            raise wrong_kind("sparsities", "a dict of name -> sparsity", self.sparsities)
        for key, sparsity in self.sparsities.items():
            fraction(f"sparsities[{key!r}]", sparsity)

    @classmethod
    def from_yaml(cls, path: StrPath) -> PerLayer:
        """Read what `UnstructuredPruner.allocation_to_yaml` wrote, edited or not."""
        return cls(read_yaml(path))

    def sparsity(self, params: Sequence[Param]) -> float:
        """The overall sparsity that the layers' own ones make."""
        return sum(round(own * p.size) for own, p in zip(self._own(params), params)) / sum(p.size for p in params)

    def budget(self, params: Sequence[Param], sparsity: float, limits: Sequence[int]) -> Quota:
        own, whole = self._own(params), self.sparsity(params)
        if sparsity > whole + 0.5 / sum(p.size for p in params):
            raise ValueError(
                f"PerLayer's sparsities make {whole:.4f} of all selected weights, and {sparsity:.4f} is "
                "asked for; raise them, or leave the ratio to them."
            )
        part = sparsity / whole if sparsity < whole else 1.0
        low, high = self._bounds(params, sparsity, limits)
        each = np.array([round(part * s * p.size) for s, p in zip(own, params)], "int64")
        if part < 1.0:
            wanted = np.maximum(own * _sizes(params), 1e-9)
            each = _shared(_total(params, sparsity), wanted, low, np.minimum(each + 1, high))
        if (each > high).any() or (each < low).any():
            names = ", ".join(p.name for p, n, a, b in zip(params, each, low, high) if not a <= n <= b)
            raise ValueError(f"PerLayer asks for a sparsity that the pattern or the bounds do not allow, in {names}.")
        return Quota(int(each.sum()), each, each)

    def _own(self, params: Sequence[Param]) -> list[float]:
        return by_name(self.sparsities, params, 0.0)


@dataclass(frozen=True)
class Threshold:
    """Every unit with a score below `value` falls; how many that are is up to the weights.

    Masks are looked at again every `update_every` steps: training pulls further weights below the threshold.

    Args:
        value: >= 0, in units of the score; or name or regular expression -> value, as for `PerLayer`.
        update_every: Steps, >= 1.

    Raises:
        ValueError: A value outside the above.
    """

    value: Union[float, Mapping[str, float]]
    update_every: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.value, Mapping) and not self.value:
            raise wrong_kind("threshold", "a number, or a dict of name -> number", self.value)
        for value in self.value.values() if isinstance(self.value, Mapping) else [self.value]:
            number("threshold", value, least=0, hint="weights with |w| below it are pruned")
        whole("update_every", self.update_every, least=1)

    def budget(self, params: Sequence[Param], sparsity: float, limits: Sequence[int]) -> Quota:
        values = by_name(self.value, params, 0.0) if isinstance(self.value, Mapping) else [self.value] * len(params)
        most = np.array(limits, "int64")
        return Quota(int(most.sum()), np.zeros_like(most), most, np.array(values, "float64"))

    def decide(self, units: list[Tensor], alive: list[Tensor], sizes: list[Size], budget: Quota) -> Cut:
        values = paddle.to_tensor(budget.thresholds)
        keep = [
            (u >= value.cast(u.dtype)).cast(u.dtype) * a.cast(u.dtype)
            for u, a, value in zip(units, alive, paddle.unstack(values))
        ]
        pruned = paddle.stack([paddle.sum((k.flatten() == 0).cast("int64") * size) for k, size in zip(keep, sizes)])
        return Cut(keep, pruned, values)

    def due(self, step: int, sparsity: float, applied: float) -> bool:
        return step % self.update_every == 0


def by_name(values: Mapping[str, float], params: Sequence[Param], default: float) -> list[float]:
    """The value of each param by its name, else by the first regular expression that matches all of its name.

    Raises:
        ValueError: A key that fits no param, or is no regular expression.
    """
    idle, found = set(values), []
    for param in params:
        fitting = [key for key in values if key == param.name] or [key for key in values if _matches(key, param.name)]
        found.append(float(values[fitting[0]]) if fitting else default)
        idle -= set(fitting)
    if idle:
        raise ValueError(
            f"{', '.join(map(repr, sorted(idle)))} fits none of the pruned params {', '.join(p.name for p in params)}."
        )
    return found


def _matches(expression: str, name: str) -> bool:
    try:
        return re.fullmatch(expression, name) is not None
    except re.error as error:
        raise ValueError(f"{expression!r} is neither a param's name nor a regular expression: {error}.") from error


def _sizes(params: Sequence[Param]) -> np.ndarray:
    return np.array([param.size for param in params], "int64")


def _total(params: Sequence[Param], sparsity: float) -> int:
    return round(sparsity * sum(param.size for param in params))


def _reachable(allocation: object, budget: Quota, sparsity: float, params: Sequence[Param]) -> Quota:
    """The budget; ValueError if its total is beyond its bounds, of which the lower ones are below it anyway."""
    most, size = int(budget.high.sum()), int(_sizes(params).sum())
    if budget.total > most:
        best = floor(1e4 * most / size) / 1e4
        raise ValueError(
            f"{allocation!r} cannot meet a sparsity of {sparsity:.4f}: {budget.total} of {size} weights are to fall, "
            f"and the bounds and the pattern allow {most}; ask for {best:.4f} at most, or for another pattern or other "
            "bounds."
        )
    return budget


def _shared(total: int, wanted: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Whole numbers in proportion to `wanted`, clamped to [low, high], that sum to `total`."""
    few, many = 0.0, float((high / wanted).max()) + 1.0
    for _ in range(200):  # bisection on the common factor
        middle = (few + many) / 2
        few, many = (middle, many) if np.clip(middle * wanted, low, high).sum() < total else (few, middle)
    real = np.clip(many * wanted, low, high)
    whole = np.clip(np.floor(real + 1e-6).astype("int64"), low, high)
    for i in np.argsort(whole - real, kind="stable"):  # largest remainder first
        whole[i] += min(max(total - int(whole.sum()), 0), int(high[i] - whole[i]), 1)
    return np.asarray(whole)
