# SPDX-License-Identifier: Apache-2.0
"""The exact cut of one layer by itself, in numpy: what `cut` decides, for a solver that asks hundreds of times."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def keep_highest(
    scores: npt.NDArray[Any], size: int | npt.NDArray[Any], fall: int, *, fill: bool = False
) -> npt.NDArray[np.bool_]:
    """Drop the lowest scored units, equal ones in stored order, until no further one fits into `fall` weights.

    Args:
        scores: what each unit is worth, any shape; infinite for one that never falls.
        size: weights per unit, one number or one for each.
        fall: weights that may fall.
        fill: whether of units of several sizes smaller ones fall behind the first that is too large, while they fit.

    Returns:
        True for units that stay, in the shape of `scores`.
    """
    flat = scores.reshape(-1)
    keep = np.ones(flat.shape, bool)
    if isinstance(size, np.ndarray):
        order = flat.argsort(kind="stable")
        sizes = size.reshape(-1)[order]
        done = int(np.count_nonzero(np.cumsum(sizes) <= fall))
        keep[order[:done]] = False
        left = fall - int(sizes[:done].sum())
        while (
            fill and left > 0 and (fits := np.flatnonzero((sizes[done:] <= left) & (flat[order[done:]] < np.inf))).size
        ):
            done += int(fits[0])
            keep[order[done]] = False
            left -= int(sizes[done])
            done += 1
        return keep.reshape(scores.shape)
    count = min(fall // size, flat.size)
    if count:
        edge = np.partition(flat, count - 1)[count - 1]
        below = flat < edge
        keep[below] = False
        keep[np.flatnonzero(flat == edge)[: count - np.count_nonzero(below)]] = False
    return keep.reshape(scores.shape)
