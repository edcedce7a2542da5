# SPDX-License-Identifier: Apache-2.0
"""From what single layers cost to a sparsity for each: all at one common drop."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import Any, Literal, Sequence

import numpy as np

from ..arguments import fraction, instance, number
from .table import SensitivityTable

Span = tuple[int, int]  # fewest and most whole weights

_TINY = 1e-6  # weights; rounding errors are far below
_SPANS = 10_000  # enough to choose from, where hardly any two of them meet


def allocate_by_sensitivity(
    table: SensitivityTable, target: float | None = None, drop: float | None = None, *, at_least: float | None = None
) -> dict[str, float]:
    """Choose per-layer sparsities such that every layer, pruned alone, costs at most the same drop D.

    s_i(D) = the largest s with drop_i(s) <= D, drop_i being the running maximum of layer i's measurements, joined by
    straight lines from (0, 0). With `target`, D is the least for which round(target * n) of the table's n weights fall;
    layers whose drop stays at D over a range of sparsities go through their ranges at the same pace. Whole weights are
    shared out by largest remainder, equal ones in the table's order, so the sum is exact. Nothing is extrapolated
    beyond a layer's highest measured sparsity. The drops of single layers add up in some way: the net loses more than D
    before it is fine-tuned.

    Args:
        table: table that `sensitivity` gave, with measurements of every layer.
        target: The overall sparsity, in [0, 1]. Without it, the most that `drop` allows.
        drop: The most a layer may cost, >= 0, in units of the score.
        at_least: A layer is dense or has at least this sparsity: 0.6 for Paddle Lite, which runs no other layer sparse.

    Returns:
        Param name -> sparsity, a whole number of weights / n_i; for `PerLayer`.

    Raises:
        ValueError: Neither target nor drop; a value out of range; a layer without measurements; a target that cannot be
            met, and why.

    Example:
        >>> from paddle_unstructured.sensitivity import SensitivityRow
        >>> rows = (SensitivityRow("a", 0.5, 0.8, 0.1, 5), SensitivityRow("b", 0.5, 0.7, 0.2, 5))
        >>> table = SensitivityTable(0.9, {"a": 10, "b": 10}, rows, "magnitude", "Element()", "")
        >>> allocate_by_sensitivity(table, drop=0.08)  # of a 5 * 0.08 / 0.1, of b 5 * 0.08 / 0.2 weights
        {'a': 0.4, 'b': 0.2}
    """
    instance("table", table, SensitivityTable, rule="what `sensitivity` gave")
    _check_wishes(target, drop, at_least)
    layers = [_Layer.of(table, name, drop, at_least or 0.0) for name in table.sizes]
    if target is None:
        counts = [layer.most for layer in layers]
    else:
        counts = _meet(target, sum(table.sizes.values()), layers, at_least)
    return {name: count / size for (name, size), count in zip(table.sizes.items(), counts)}


def _check_wishes(target: float | None, drop: float | None, at_least: float | None) -> None:
    if target is None and drop is None:
        raise ValueError("give `target`, the overall sparsity, or `drop`, the most a layer may cost.")
    for name, value in (("target", target), ("at_least", at_least)):
        if value is not None:
            fraction(name, value)
    if drop is not None:
        number("drop", drop, least=0)


@dataclass(frozen=True)
class _Layer:
    """A drop over pruned weights, both rising from 0, straight between the points; `least` to `most` may fall, or 0."""

    weights: np.ndarray
    drops: np.ndarray
    least: int = 0
    most: int = 0

    @classmethod
    def of(cls, table: SensitivityTable, name: str, drop: float | None, at_least: float) -> _Layer:
        points = sorted((row.pruned, row.drop) for row in table.rows if row.param == name)
        if not points:
            raise ValueError(
                f"`table` has no measurement of {name}; finish the analysis with sensitivity(..., path=...)."
            )
        weights, drops = zip((0, 0.0), *points)
        curve = cls(np.array(weights), np.maximum.accumulate(drops))
        most = int(weights[-1] if drop is None else floor(curve.reach(drop, "right") + _TINY))
        least = ceil(at_least * table.sizes[name] - _TINY)
        return cls(curve.weights, curve.drops, least, most) if most >= least else curve

    def reach(self, drop: Any, side: Literal["left", "right"]) -> np.ndarray:
        """The most weights (side "right") or the fewest ("left") at which the curve is at `drop`, as a real number."""
        place = np.searchsorted(self.drops, drop, side)
        before, after = np.maximum(place - 1, 0), np.minimum(place, len(self.drops) - 1)
        before = np.where(place == len(self.drops), after, before)
        rise = self.drops[after] - self.drops[before]
        part = (drop - self.drops[before]) / np.where(rise > 0, rise, 1.0)
        steps = self.weights[after] - self.weights[before]
        return np.asarray(self.weights[before] + np.where(rise > 0, part, 0.0) * steps)

    def drop(self, weights: Any) -> Any:
        return np.interp(weights, self.weights, self.drops)


def _meet(target: float, weights: int, layers: Sequence[_Layer], at_least: float | None) -> list[int]:
    """Whole weights per layer, round(target * weights) altogether, the highest drop as low as possible."""
    total, most = round(target * weights), sum(layer.most for layer in layers)
    asked = f"`target` {target} means {total} of {weights} weights"
    if total > most:
        raise ValueError(
            f"{asked}, but no more than {most} can fall: every layer is at the highest sparsity that was "
            "measured, or that `drop` and `at_least` allow it."
        )
    if not at_least:
        return _shared(total, layers)
    counts = _shared_by_some(total, layers)
    if counts is None:
        totals = _totals(layers)[-1]
        below, above = max(b for _, b in totals if b < total), min((a for a, _ in totals if a > total), default=most)
        raise ValueError(
            f"{asked}, but no choice of layers that are dense or at least {at_least} sparse has that "
            f"many; the nearest have {below} and {above}. Measure higher sparsities, or lower `at_least`."
        )
    return counts


def _shared(total: int, layers: Sequence[_Layer]) -> list[int]:
    """Whole weights per layer, from its least to its most, at a common drop as far as those allow it."""
    if not layers:
        return []
    levels = np.unique(np.concatenate([[*layer.drops, *layer.drop([layer.least, layer.most])] for layer in layers]))
    # Every layer's weights as the drop rises through the levels: straight between two rows, so the sum is too.
    path = np.empty((2 * len(levels), len(layers)))
    for i, layer in enumerate(layers):
        path[0::2, i] = np.clip(layer.reach(levels, "left"), layer.least, layer.most)
        path[1::2, i] = np.clip(layer.reach(levels, "right"), layer.least, layer.most)
    sums = path.sum(axis=1)
    end = int(np.searchsorted(sums, total - _TINY))
    start = max(end - 1, 0)
    rise = sums[end] - sums[start]
    real = path[start] + (path[end] - path[start]) * ((total - sums[start]) / rise if rise > 0 else 0.0)
    whole = np.floor(real + _TINY).astype("int64")
    largest = np.argsort(whole - real, kind="stable")[: total - whole.sum()]
    whole[largest] += 1
    return [int(count) for count in whole]


def _shared_by_some(total: int, layers: Sequence[_Layer]) -> list[int] | None:
    """The same, but layers may be dense; None if no choice of layers has `total` weights.

    Layers join in the order in which their least sparsity hurts. How many should, shows when all are tried.
    """
    order = sorted((i for i, layer in enumerate(layers) if layer.most), key=lambda i: layers[i].drop(layers[i].least))
    joining = [layers[i] for i in order]
    totals = _totals(joining)
    best, cost = None, (np.inf, np.inf)
    for last in range(len(order) + 1):
        members = _members(joining[:last], totals, total)
        if total and not members:
            continue
        sparse, counts = sorted(order[k] for k in members), [0] * len(layers)
        for i, count in zip(sparse, _shared(total, [layers[i] for i in sparse])):
            counts[i] = count
        drops = [float(layer.drop(count)) for layer, count in zip(layers, counts)]
        if best is None or (max(drops), sum(drops)) < cost:
            best, cost = counts, (max(drops), sum(drops))
    return best


def _totals(layers: Sequence[_Layer]) -> list[list[Span]]:
    """Per i, the totals that the first i layers can have, as disjoint rising spans."""
    totals = [[(0, 0)]]
    for layer in layers:
        merged: list[Span] = []
        for a, b in sorted(totals[-1] + [(a + layer.least, b + layer.most) for a, b in totals[-1]]):
            if merged and a <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(b, merged[-1][1]))
            else:
                merged.append((a, b))
        totals.append(merged[:: 1 + len(merged) // _SPANS])
    return totals


def _members(layers: Sequence[_Layer], totals: list[list[Span]], total: int) -> list[int]:
    """Which layers get weights: the last one, and of the others as many as `total` allows; none if it cannot be."""
    low = high = total
    members = []
    for i in reversed(range(len(layers))):
        least, most = layers[i].least, layers[i].most
        if any(a <= high - least and b >= low - most for a, b in totals[i]):
            members.append(i)
            low, high = low - most, high - least
        elif i == len(layers) - 1:
            return []
    return members[::-1]
