# SPDX-License-Identifier: Apache-2.0
"""The exact cut: which units fall when layers race for one budget, each within bounds of its own.

Every unit has a score. The lowest fall first, equal scores in stored order; `total` weights are to fall, at least
`low[i]` and at most `high[i]` of them in layer `i`. All of it is tensors on the device: no
weight visits the host, and only a few passes touch every score, most of them piece by piece.

The rank is found digit by digit, as a radix select finds it. The first digit is a coarse bin of the score's range; the
one bin per layer that holds the rank is then resolved exactly, by sorting the few scores in it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Union

import numpy as np
import paddle
from paddle import Tensor

from ..graph.in_place import clip_, floor_, multiply_, scale_, scatter_
from .pieces import pieces_of

Size = Union[int, Tensor]  # weights per unit: one number for a layer, or int64 [units]

_DIGIT_BITS = 12
BINS = 1 << _DIGIT_BITS
_LARGEST = 1e300  # stands for infinity; clip and searchsorted stumble over larger ones
_SAMPLE = 4096  # scores per layer that set the range of the coarse bins


@dataclass(frozen=True)
class Cut:
    """What was decided.

    Attributes:
        keep: Per layer, shape and dtype of its scores: 1 = the unit stays.
        pruned: int64 [layers], weights pruned now, those of earlier cuts included.
        threshold: float64 [layers], the score at which the layer was cut; NaN where nothing fell but what fell before.
    """

    keep: list[Tensor]
    pruned: Tensor
    threshold: Tensor


def cut(
    scores: list[Tensor], alive: list[Tensor], sizes: list[Size], *, total: Tensor, low: Tensor, high: Tensor
) -> Cut:
    """Drop the lowest scored units until `total` weights are pruned.

    Args:
        scores: Per layer, float32 or float64, any shape: what each unit is worth, larger = keep. No NaN.
        alive: Per layer, like its scores: 1, or 0 for a unit that an earlier cut dropped. Those count first and never
            come back, however they score.
        sizes: Per layer, weights per unit.
        total: int64 [1], weights to be pruned over all layers.
        low: int64 [layers], least pruned weights of each layer.
        high: int64 [layers], most pruned weights of each layer.

    Returns:
        The cut. `pruned` sums to `total` exactly where every unit holds one weight and the bounds allow it, and stays
        less than one unit below it otherwise.
    """
    bins = coarse_bins(scores, alive)
    counts = paddle.stack([weigh(b, size) for b, size in zip(bins, sizes)])  # [layers, bins]
    dead = counts[:, 0]
    race = Race(total, *whole_units(low, high, sizes, dead)).narrowed(counts)
    near = Candidates.in_bins(bins, race.digit, None, flattened(scores), sizes)
    return resolved(race, near, bins, race.digit, scores, dead)


def resolved(race: Race, near: Candidates, bins: list[Tensor], last: Tensor, scores: list[Tensor], dead: Tensor) -> Cut:
    """Finish a cut whose candidates are known: units above bin `last` [layers] stay, below the candidates they fall."""
    code_of_rank = paddle.zeros_like(last)
    for shift in _shifts(near):
        race = race.narrowed(near.count(shift))
        near = near.narrowed(shift, race.digit)
        code_of_rank = code_of_rank * BINS + race.digit
    fall = near.first_ties(race.at, race.settled() - race.base)
    stays = near.per_layer(as_dtype(near.staying(code_of_rank, fall), scores[0].dtype))
    keep = [
        _fill_in(b, edge, index, stay).reshape(score.shape)
        for b, edge, index, stay, score in zip(bins, last.tolist(), near.index, stays, scores)
    ]
    nowhere = paddle.full([len(scores)], float("nan"), "float64")
    return Cut(
        keep,
        paddle.maximum(race.base + near.weigh(fall), dead),
        paddle.where(last > 0, near.value(code_of_rank), nowhere),
    )


@dataclass(frozen=True)
class Race:
    """Where the rank lies so far. A layer is live while its own cut and the common one share all digits."""

    total: Tensor  # [1]
    low: Tensor  # [layers]
    high: Tensor  # [layers]
    base: Tensor | None = None  # [layers], weights certainly below the rank
    at: Tensor | None = None  # [layers], weights that share all digits with it
    live: Tensor | None = None  # bool [layers]
    bound: Tensor | None = None  # [layers], what a layer that left the race prunes
    digit: Tensor | None = None  # [layers], the digit found last

    def narrowed(self, counts: Tensor) -> Race:
        """Find the next digit of every layer's rank from the weights at each digit, [layers, bins]."""
        base = paddle.zeros_like(self.low) if self.base is None else self.base
        live = paddle.ones_like(self.low).cast("bool") if self.live is None else self.live
        bound = self.low if self.bound is None else self.bound
        below = base.unsqueeze(1) + paddle.cumsum(counts, axis=1)  # weights up to and including each digit
        shares = self._within(below, paddle.where(live, self.low, bound), paddle.where(live, self.high, bound))
        common = _first(paddle.sum(shares, axis=0, keepdim=True), self.total)  # [1]
        least, most = _first(below, self.low), _first(below, self.high)
        raced = paddle.maximum(paddle.minimum(common.expand_as(least), most), least)
        digit = paddle.where(live, raced, _first(below, bound))
        left = paddle.where(digit > common, self.low, self.high)
        at = paddle.take_along_axis(counts, digit.unsqueeze(1), 1).squeeze(1)
        through = paddle.take_along_axis(below, digit.unsqueeze(1), 1).squeeze(1)
        return replace(
            self,
            base=through - at,
            at=at,
            digit=digit,
            bound=paddle.where(live, left, bound),
            live=paddle.logical_and(live, digit == common),
        )

    def settled(self) -> Tensor:
        """Share the rest of the budget among the equal scores at the rank, in stored order: pruned, [layers]."""
        assert self.base is not None and self.at is not None  # the race has been narrowed
        sure = self._within(self.base, self.low, self.high)
        possible = self._within(self.base + self.at, self.low, self.high)
        room = paddle.where(self.live, possible - sure, paddle.zeros_like(sure))
        rest = self.total - paddle.sum(paddle.where(self.live, sure, self.bound))
        before = paddle.cumsum(room, axis=0) - room
        taken = paddle.minimum(paddle.maximum(rest - before, paddle.zeros_like(room)), room)
        return paddle.where(self.live, sure + taken, self.bound)

    @staticmethod
    def _within(pruned: Tensor, low: Tensor, high: Tensor) -> Tensor:
        low, high = (low, high) if pruned.ndim == 1 else (low.unsqueeze(1), high.unsqueeze(1))
        return paddle.maximum(paddle.minimum(pruned, high), low)


@dataclass(frozen=True)
class Candidates:
    """The units that fell into the coarse bin of their layer's rank: few, layer after layer in stored order."""

    index: list[Tensor]  # per layer [few], place in the layer
    layer: Tensor  # [all]
    size: Tensor  # int64 [all]
    score: Tensor  # float64 [all]
    values: Tensor  # float64 [all], the scores in rising order
    code: Tensor  # [all], place of the score in `values`, so equal scores have equal codes
    layers: int
    tied: Tensor  # bool [all], shares all digits so far with the rank

    @classmethod
    def in_bins(
        cls, bins: list[Tensor], first: Tensor, last: Tensor | None, scores: list[Tensor], sizes: list[Size]
    ) -> Candidates:
        """The units in the bins `first` to `last` (None: in those only) of each layer, [layers]; none in bin 0."""
        ends = (first if last is None else last).tolist()
        index = [_places(b, max(low, 1), high) for b, low, high in zip(bins, first.tolist(), ends)]
        layer = paddle.repeat_interleave(paddle.arange(len(bins)), paddle.concat([paddle.shape(i) for i in index]))
        if all(isinstance(s, int) for s in sizes):
            size = paddle.gather(paddle.assign(np.array(sizes, "int64")), layer)
        else:
            size = joined(
                [paddle.full_like(i, s) if isinstance(s, int) else paddle.gather(s, i) for s, i in zip(sizes, index)]
            )
        score = joined([as_dtype(paddle.gather(s, i), paddle.float64) for s, i in zip(scores, index)])
        return cls.of_scores(index, layer, size, score, len(bins))

    @classmethod
    def of_scores(cls, index: list[Tensor], layer: Tensor, size: Tensor, score: Tensor, layers: int) -> Candidates:
        score = paddle.clip(score, -_LARGEST, _LARGEST)
        values = paddle.sort(score)
        return cls(
            index,
            layer,
            size,
            score,
            values,
            paddle.searchsorted(values, score),
            layers,
            paddle.ones_like(layer).cast("bool"),
        )

    def count(self, shift: int) -> Tensor:
        """Weights at each value of the digit, [layers, bins], of those still tied with the rank."""
        place = self.layer * BINS + self._digit(shift)
        apart = paddle.full_like(place, self.layers * BINS)  # one bin to throw away
        counts = weigh(paddle.where(self.tied, place, apart), self.size, self.layers * BINS + 1)
        return counts[: self.layers * BINS].reshape([self.layers, BINS])

    def narrowed(self, shift: int, digit: Tensor) -> Candidates:
        same = self._digit(shift) == paddle.gather(digit, self.layer)
        return replace(self, tied=paddle.logical_and(self.tied, same))

    def first_ties(self, at: Tensor, budget: Tensor) -> Tensor:
        """The units with exactly the score of the rank that still fit their layer's budget, bool [all]."""
        through = paddle.cumsum(paddle.where(self.tied, self.size, paddle.zeros_like(self.size)), axis=0)
        earlier_layers = paddle.cumsum(at, axis=0) - at
        return paddle.logical_and(self.tied, through <= paddle.gather(budget + earlier_layers, self.layer))

    def staying(self, code_of_rank: Tensor, fall: Tensor) -> Tensor:
        above = self.code > paddle.gather(code_of_rank, self.layer)
        return paddle.logical_or(above, paddle.logical_and(self.tied, paddle.logical_not(fall)))

    def weigh(self, chosen: Tensor) -> Tensor:
        """Weights in the chosen units of each layer, int64 [layers]."""
        return weigh(self.layer, paddle.where(chosen, self.size, paddle.zeros_like(self.size)), self.layers)

    def per_layer(self, flat: Tensor) -> list[Tensor]:
        parts: list[Tensor] = paddle.split(flat, [paddle.shape(i) for i in self.index])
        return parts

    def value(self, code: Tensor) -> Tensor:
        padded = paddle.concat([self.values, paddle.zeros([1], "float64")])  # there may be no candidate at all
        return paddle.gather(padded, paddle.minimum(code, paddle.shape(self.values).cast("int64")))

    def _digit(self, shift: int) -> Tensor:
        return (self.code // (1 << shift)) % BINS


def whole_units(low: Tensor, high: Tensor, sizes: list[Size], dead: Tensor) -> tuple[Tensor, Tensor]:
    """Bounds that units can meet: what would split a unit is left to other layers, not lost."""
    step = paddle.assign(np.array([size if isinstance(size, int) else 1 for size in sizes], "int64"))
    high = high // step * step
    low = paddle.minimum((low + step - 1) // step * step, high)
    return paddle.maximum(low, dead), paddle.maximum(high, dead)


def joined(tensors: list[Tensor]) -> Tensor:
    """One after the other. All may be empty, which Paddle 3.0 refuses."""
    return paddle.concat([*tensors, paddle.zeros([1], tensors[0].dtype)])[:-1]


def flattened(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor if len(tensor.shape) == 1 else paddle.flatten(tensor) for tensor in tensors]


def coarse_bins(scores: list[Tensor], alive: list[Tensor]) -> list[Tensor]:
    """Bins that rise with the score, whole numbers in the score's dtype, [units]; bin 0: those pruned before, only.

    In place where it can be: what costs is fresh memory, more than arithmetic.
    """
    scores, alive = flattened(scores), flattened(alive)
    low, width = score_range(scores, alive)
    step = width / (BINS - 2)
    start, per_step = (low - step).item(), (1.0 / step).item()
    bins = [paddle.scale(score, bias=-start) for score in scores]
    for layer, living in zip(bins, alive):
        for place, live in pieces_of(layer, living):
            position = clip_(scale_(place, per_step, 0.0, True), 1.0, BINS - 1.0)
            floor_(multiply_(position, as_dtype(live, place.dtype)))
    return bins


def score_range(scores: list[Tensor], alive: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Where the scores of living units lie, judged from every k-th: lowest, and six times the mean above it."""
    step = [max(1, int(np.prod(s.shape)) // _SAMPLE) for s in scores]
    sample = paddle.concat([as_dtype(_every(k, s), paddle.float32) for s, k in zip(scores, step)])
    living = paddle.concat([as_dtype(_every(k, a), paddle.float32) for a, k in zip(alive, step)]) > 0
    living = paddle.logical_and(living, paddle.abs(sample) < 1e30)  # a pattern protects units with infinite scores
    sample = paddle.where(living, sample, paddle.zeros_like(sample))
    lowest = paddle.min(sample, axis=0, keepdim=True)
    mean = paddle.sum((sample - lowest) * living.cast("float32")) / (paddle.sum(living.cast("float32")) + 1.0)
    # Not finer than float32 resolves at that place, so that a bin's edges are where they should be.
    return lowest, paddle.maximum(paddle.maximum(6.0 * mean, 1e-3 * paddle.abs(lowest)), paddle.full([1], 1e-30))


def _every(step: int, tensor: Tensor) -> Tensor:
    return tensor if step == 1 else tensor[::step]


def as_dtype(tensor: Tensor, dtype: object) -> Tensor:
    """Cast, without a copy where there is nothing to cast."""
    return tensor if tensor.dtype == dtype else tensor.cast(dtype)


def weigh(place: Tensor, size: Size, bins: int = BINS) -> Tensor:
    """Weights at each place, int64 [bins]."""
    if isinstance(size, int):
        parts = [paddle.bincount(_whole(part), minlength=bins) for (part,) in pieces_of(place)]
        counts = parts[0] if len(parts) == 1 else paddle.add_n(parts)
        return counts if size == 1 else counts * size
    place = _whole(place)
    # Integer weights: the static graph says int64 and the kernel makes float64 (3.3.1). float64 is exact to 2**53.
    # One place more, of size 0: there may be no other, and then Paddle 3.0 forgets `minlength`.
    place = paddle.concat([place, paddle.zeros([1], place.dtype)])
    size = paddle.concat([size.cast("float64"), paddle.zeros([1], "float64")])
    return paddle.bincount(place, weights=size, minlength=bins).cast("int64")


def _places(bins: Tensor, low: int, high: int) -> Tensor:
    """Where the bins `low` to `high` are, int64 [few]."""
    found, start = [], 0
    for (part,) in pieces_of(bins):
        inside = paddle.logical_and(part >= float(low), part <= float(high))  # == takes longer
        found.append(paddle.nonzero(inside).flatten() + start)
        start += part.shape[0]
    return found[0] if len(found) == 1 else joined(found)


def _whole(place: Tensor) -> Tensor:
    return place if place.dtype == paddle.int64 else place.cast("int32")


def _fill_in(bins: Tensor, edge: int, index: Tensor, stay: Tensor) -> Tensor:
    """1 for units above the bin `edge`, and for the candidates that stay; made of `bins`, which is gone after that."""
    above = clip_(scale_(bins, 1.0, -float(edge), True), 0.0, 1.0)
    return scatter_(above, index, as_dtype(stay, bins.dtype), True)


def _first(rising: Tensor, least: Tensor) -> Tensor:
    """Index of the first number >= `least` [rows] in each row [rows, BINS]; the last index if there is none."""
    return paddle.searchsorted(rising, least.unsqueeze(1)).squeeze(1).clip(max=BINS - 1)


def _shifts(near: Candidates) -> list[int]:
    """Digits of a candidate's code, highest first: as many as the number of candidates needs."""
    bits = max(near.code.shape[0], 1).bit_length()
    return [_DIGIT_BITS * i for i in reversed(range(-(-bits // _DIGIT_BITS)))]
