# SPDX-License-Identifier: Apache-2.0
"""The exact cut of one layer by itself, in numpy: what `cut` decides, for a solver that asks hundreds of times."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def keep_highest(scores: npt.NDArray[Any], size: int | npt.NDArray[Any], fall: int) -> npt.NDArray[np.bool_]:
    """Drop the lowest scored units, equal ones in stored order, until no further one fits into `fall` weights.

    Args:
        scores: what each unit is worth, any shape; infinite for one that never falls.
        size: weights per unit, one number or one for each.
        fall: weights that may fall.

    Returns:
        True for units that stay, in the shape of `scores`.
    """
    flat = scores.reshape(-1)
    keep = np.ones(flat.shape, bool)
    if isinstance(size, np.ndarray):
        order = flat.argsort(kind="stable")
        keep[order[np.cumsum(size.reshape(-1)[order]) <= fall]] = False
        return keep.reshape(scores.shape)
    count = min(fall // size, flat.size)
    if count:
        edge = np.partition(flat, count - 1)[count - 1]
        below = flat < edge
        keep[below] = False
        keep[np.flatnonzero(flat == edge)[: count - np.count_nonzero(below)]] = False
    return keep.reshape(scores.shape)
