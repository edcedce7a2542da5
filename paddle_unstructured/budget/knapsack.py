# SPDX-License-Identifier: Apache-2.0
"""One choice for each layer, the least error within a time: the multiple-choice knapsack in whole units of time."""

from __future__ import annotations

from typing import Sequence

import numpy as np
import numpy.typing as npt

UNITS = 10_000  # a budget in so many parts: rounding up costs a layer a ten-thousandth of it at most


def choose(
    times: Sequence[npt.NDArray[np.int64]], errors: Sequence[npt.NDArray[np.float64]], most: int
) -> list[int] | None:
    """Minimise sum_l e[l, k_l] over k, subject to sum_l t[l, k_l] <= most, exactly.

    best_l(u) = min over k of best_{l-1}(u - t[l, k]) + e[l, k] for every time u <= most: layers x most x choices steps.
    Of equal errors the least time wins, then the earlier choice of the later layer.

    Args:
        times: of each layer, of each of its choices; whole units >= 0.
        errors: in the same shapes; >= 0.
        most: units.

    Returns:
        The choice of each layer; None if there is none within the time.

    Source: the same program for speedups, Frantar & Alistarh 2022, arXiv:2201.13096 (SPDY); the knapsack, Dudzinski &
        Walukiewicz 1987, Eur. J. Oper. Res. 28.
    """
    if most < 0:
        return None
    best, taken = np.full(most + 1, np.inf), []  # best[u]: the least error in exactly u units
    best[0] = 0.0
    for time, error in zip(times, errors):
        found, chosen = np.full(most + 1, np.inf), np.full(most + 1, -1, np.int32)
        for k, (units, costs) in enumerate(zip(time.tolist(), error.tolist())):
            if units <= most:
                with_it = best[: most + 1 - units] + costs
                better = with_it < found[units:]
                found[units:][better] = with_it[better]
                chosen[units:][better] = k
        best = found
        taken.append(chosen)
    if not np.isfinite(best).any():
        return None
    at, choices = int(best.argmin()), list[int]()
    for time, chosen in zip(reversed(times), reversed(taken)):
        choices.append(int(chosen[at]))
        at -= int(time[choices[-1]])
    return choices[::-1]


def within(
    times: Sequence[npt.NDArray[np.float64]], errors: Sequence[npt.NDArray[np.float64]], most: float
) -> list[int] | None:
    """The same for times in seconds, each rounded up to a part of `most`; so the true sum is never above it.

    Where rounding leaves no choice although the fastest of each layer fit, those are the answer.
    """
    if most <= 0:
        return None
    unit = most / UNITS
    whole = [np.ceil(np.maximum(time, 0.0) / unit - 1e-9).astype(np.int64) for time in times]
    found = choose(whole, errors, UNITS)
    if found is None and sum(float(time.min()) for time in times) <= most:
        return [int(time.argmin()) for time in times]
    return found
