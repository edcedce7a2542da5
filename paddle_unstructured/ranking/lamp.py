# SPDX-License-Identifier: Apache-2.0
"""The exact cut by LAMP scores: what a unit is worth beside all that its layer would keep with it.

    lamp(u) = u^2 / sum of v^2 over the living units v of the layer with v >= u

Units that a pattern protects (their score is infinite) neither fall nor count. Within a layer lamp rises with u, so
only the few units near the cut need their exact value: a histogram of each layer bounds the lamp of every bin from both
sides, and the bins that may hold the rank are the candidates.

Source: Lee et al. 2021, arXiv:2010.07611.
"""

from __future__ import annotations

import paddle
from paddle import Tensor

from .cut import (
    BINS,
    Candidates,
    Cut,
    Race,
    Size,
    as_dtype,
    coarse_bins,
    flattened,
    joined,
    resolved,
    score_range,
    weigh,
    whole_units,
)
from .pieces import pieces_of

_PROTECTED = 1e150  # scores from here on are as good as infinite
_GRID = 1024  # values of lamp that are tried at once, twice


def lamp_cut(
    scores: list[Tensor], alive: list[Tensor], sizes: list[Size], *, total: Tensor, low: Tensor, high: Tensor
) -> Cut:
    """Drop the units with the lowest lamp; the arguments are those of `rank.cut`, with scores >= 0."""
    flat = flattened(scores)
    bins = coarse_bins(scores, alive)
    counts = paddle.stack([weigh(b, size) for b, size in zip(bins, sizes)])  # [layers, bins]
    energy = paddle.stack([_energy(b, s) for b, s in zip(bins, flat)])  # [layers, bins]
    energy = energy * (paddle.arange(BINS) > 0).cast("float64")  # what was pruned before does not count
    dead = counts[:, 0]
    low, high = whole_units(low, high, sizes, dead)
    least, most = _bounds(energy, _lower_edges(scores, alive))
    first, last = _bins_of_rank(counts, least, most, total, low, high)
    below = paddle.cumsum(counts, axis=1)
    base = paddle.take_along_axis(below, paddle.clip(first - 1, min=0).unsqueeze(1), 1).squeeze(1)
    near = Candidates.in_bins(bins, first, last, flat, sizes)
    near = Candidates.of_scores(near.index, near.layer, near.size, _lamp(near, _above(energy, last)), near.layers)
    race = Race(total, low, high, base=base, live=paddle.ones_like(low).cast("bool"), bound=low)
    return resolved(race, near, bins, last, scores, dead)


def _energy(bins: Tensor, scores: Tensor) -> Tensor:
    """Sum of squares in each bin, float64 [bins]."""
    parts = [
        paddle.bincount(place.cast("int32"), weights=_squares(as_dtype(score, paddle.float64)), minlength=BINS)
        for place, score in pieces_of(bins, scores)
    ]
    return paddle.add_n(parts)


def _lower_edges(scores: list[Tensor], alive: list[Tensor]) -> Tensor:
    """A score that no unit of a bin is below, float64 [1, bins + 1]; one bin wide of the mark, for rounding."""
    lowest, width = (value.cast("float64") for value in score_range(flattened(scores), flattened(alive)))
    edges = lowest + (paddle.arange(BINS + 1).cast("float64") - 2.0) * (width / (BINS - 2))
    edges = paddle.where(paddle.arange(BINS + 1) > 2, paddle.clip(edges, min=0.0), paddle.zeros_like(edges))
    return edges.unsqueeze(0)


def _bounds(energy: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
    """Least and greatest lamp of the units of each bin, [layers, bins]; both rise along the bins."""
    from_here = paddle.flip(paddle.cumsum(paddle.flip(energy, [1]), axis=1), [1])
    beyond = paddle.concat([from_here[:, 1:], paddle.zeros_like(from_here[:, :1])], axis=1)
    tiny = paddle.full([1], 1e-300, "float64")
    least = edges[:, :-1] ** 2 / paddle.maximum(from_here * (1 + 1e-9), tiny)
    upper = paddle.concat([edges[:, 3:], paddle.full_like(edges[:, :2], 1e150)], axis=1) ** 2  # [layers, bins]
    most = upper / paddle.maximum(upper + beyond * (1 - 1e-9), tiny)
    return paddle.cummax(least, axis=1)[0], paddle.cummax(most, axis=1)[0]


def _bins_of_rank(
    counts: Tensor, least: Tensor, most: Tensor, total: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """First and last bin of each layer that may hold its cut, int64 [layers]."""
    below = paddle.cumsum(counts, axis=1)

    def fallen(bounds: Tensor, grid: Tensor, up_to: bool) -> Tensor:
        """Weights of the bins whose bound lies below each grid value, within the layer's limits, [layers, grid]."""
        bins = paddle.searchsorted(bounds, paddle.tile(grid.unsqueeze(0), [bounds.shape[0], 1]), right=up_to)
        weights = paddle.take_along_axis(below, paddle.clip(bins - 1, min=0), 1)
        weights = paddle.where(bins > 0, weights, paddle.zeros_like(weights))
        return paddle.maximum(paddle.minimum(weights, high.unsqueeze(1)), low.unsqueeze(1))

    start, end = paddle.zeros([1], "float64"), paddle.full([1], 2.0, "float64")  # lamp lies in [0, 1]
    for _ in range(2):
        logs = paddle.log(paddle.maximum(start, paddle.full([1], 1e-30, "float64")))
        inner = paddle.exp(logs + (paddle.log(end) - logs) * (paddle.arange(1, _GRID).cast("float64") / _GRID))
        grid = paddle.concat([start, inner, end])
        possible, certain = fallen(least, grid, True), fallen(most, grid, False)
        too_few = paddle.sum((paddle.sum(possible, axis=0) < total).cast("int64"))
        not_all = paddle.sum((paddle.sum(certain, axis=0) < total).cast("int64"))
        at_start = paddle.clip(too_few - 1, min=0).reshape([1])
        at_end = paddle.clip(not_all, max=_GRID).reshape([1])
        start, end = paddle.gather(grid, at_start), paddle.gather(grid, at_end)
    fewest, most_of_all = paddle.gather(certain, at_start, axis=1), paddle.gather(possible, at_end, axis=1)
    return _bin_at(below, fewest), _bin_at(below, most_of_all)


def _bin_at(below: Tensor, rank: Tensor) -> Tensor:
    """The bin in which each layer's rank [layers, 1] falls."""
    return paddle.clip(paddle.sum((below < rank).cast("int64"), axis=1), max=BINS - 1)


def _above(energy: Tensor, last: Tensor) -> Tensor:
    """Sum of squares in the bins above `last`, float64 [layers]."""
    above = (paddle.arange(BINS).unsqueeze(0) > last.unsqueeze(1)).cast("float64")
    return paddle.sum(energy * above, axis=1)


def _lamp(near: Candidates, above: Tensor) -> Tensor:
    """lamp of every candidate, given the squares of the units above all candidates of its layer."""
    tiny, none = paddle.full([1], 1e-300, "float64"), paddle.zeros([1], "float64")
    lamps = []
    for score, beyond in zip(near.per_layer(near.score), paddle.split(above, above.shape[0])):
        rising = paddle.sort(score)
        # Sums of the squares of the i highest; equal scores share the sum that includes all of them.
        highest = paddle.concat([none, paddle.cumsum(_squares(paddle.flip(rising, [0])), axis=0)])
        at_least = paddle.numel(score) - paddle.searchsorted(rising, score)
        lamps.append(_squares(score) / paddle.maximum(paddle.gather(highest, at_least) + beyond, tiny))
    return paddle.where(near.score < _PROTECTED, joined(lamps), near.score)


def _squares(scores: Tensor) -> Tensor:
    """u^2, and 0 for units that a pattern protects by infinity, or that fell before (-infinity): the others compete."""
    finite = paddle.clip(scores, -_PROTECTED, _PROTECTED) * (paddle.abs(scores) < _PROTECTED).cast("float64")
    return finite * finite
