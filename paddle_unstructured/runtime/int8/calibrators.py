# SPDX-License-Identifier: Apache-2.0
"""From what a layer was seen to return to the range that its bytes cover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Tuple

import numpy as np

BINS = 4096
PERCENT = 99.99
_CANDIDATES = 128  # for each end of a range
Range = Tuple[float, float]  # low, high


@dataclass(frozen=True)
class Histogram:
    """Numbers that were seen, counted.

    Attributes:
        low, high: The smallest and the largest.
        counts: [bins]: equal parts of [low, high].
        zeros: How many were exactly 0: a byte holds them without error.
    """

    low: float
    high: float
    counts: np.ndarray
    zeros: int = 0

    @property
    def edges(self) -> np.ndarray:
        return np.linspace(self.low, self.high, len(self.counts) + 1)

    @property
    def centers(self) -> np.ndarray:
        edges = self.edges
        return np.asarray((edges[1:] + edges[:-1]) / 2)


def minmax(seen: Histogram) -> Range:
    """[smallest, largest]: nothing is clipped."""
    return seen.low, seen.high


def percentile(seen: Histogram, percent: float = PERCENT) -> Range:
    """The range that leaves out (100 - percent) % of the numbers at each end."""
    if seen.low == seen.high:
        return minmax(seen)
    below = np.concatenate([[0], np.cumsum(seen.counts)]) / seen.counts.sum()  # at each edge
    low, high = np.interp([1 - percent / 100, percent / 100], below, seen.edges)
    return float(low), float(high)


def mse(seen: Histogram) -> Range:
    """The range with the least squared error: sum over clipped x of (x - end)^2 + others * step^2 / 12.

    Rounding errors are taken as uniform within a step = (high - low) / 255; an exact zero has none.
    """
    if seen.low == seen.high:
        return minmax(seen)
    fractions = np.arange(1, _CANDIDATES + 1) / _CANDIDATES
    lows, highs = min(seen.low, 0.0) * fractions, max(seen.high, 0.0) * fractions
    clipped_low, error_low = _beyond(-seen.centers[::-1], seen.counts[::-1], -lows)
    clipped_high, error_high = _beyond(seen.centers, seen.counts, highs)
    inside = seen.counts.sum() - seen.zeros - clipped_low[:, None] - clipped_high[None, :]
    step = (highs[None, :] - lows[:, None]) / 255
    error = error_low[:, None] + error_high[None, :] + np.maximum(inside, 0) * step**2 / 12
    i, j = np.unravel_index(error.argmin(), error.shape)
    return float(lows[i]), float(highs[j])


def _beyond(x: np.ndarray, counts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each end: how many of the ascending x lie above it, and the sum of their (x - end)^2."""
    sums = [np.concatenate([np.cumsum((counts * x**power)[::-1])[::-1], [0.0]]) for power in range(3)]
    first = np.searchsorted(x, ends, side="right")
    count, linear, square = (total[first] for total in sums)
    beyond = np.where(ends > 0, 1, 0)  # an end at 0 is no clipping: there is nothing on that side
    return count * beyond, np.maximum(square - 2 * ends * linear + ends**2 * count, 0) * beyond


CALIBRATORS: dict[str, Callable[[Histogram], Range]] = {"minmax": minmax, "percentile": percentile, "mse": mse}
