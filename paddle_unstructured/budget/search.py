# SPDX-License-Identifier: Apache-2.0
"""The choice with the least error of the outputs, among many that take no longer: dynamic programming proposes them.

Errors of single layers do not know what later layers repair, nor what several layers break together. So each layer gets
a coefficient: minimise sum_l c_l e[l, k_l] within the time is solved, what that chooses is tried, and

    log c = argmin over all tries of w (log(b sum_l c_l e[l, k_l]) - log E)² + λ |log c|²,  w = least E / E

is solved anew with what was measured, E; b is free. Every other proposal moves the coefficients at random.

Source: Frantar & Alistarh 2022, arXiv:2201.13096 (SPDY: coefficients of layers are searched for, a dynamic programme
    answers); there they are drawn a thousand times and not fitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from .knapsack import within

Choice = Mapping[str, int]  # name of each weight -> zeros
SINGLE = "errors of single layers"
_RIDGE = 0.1  # λ: a coefficient that moves by 3 costs as much as an error that is wrong by 1
_WIDTH = 0.4  # deviation of the logarithms of coefficients that are moved
_DRAWS = 20  # until a proposal is a choice that was not tried yet
_STEPS = 50  # of Gauss and Newton
_LEAST = 1e-12  # of an error


@dataclass(frozen=True)
class Layers:
    """What may be chosen, in the order of execution.

    Attributes:
        names: of the weights.
        zeros: of each layer, at each of its levels.
        times: seconds, >= 0, in the same shapes.
        errors: squared error of the outputs if this layer alone is pruned, >= 0.
    """

    names: Sequence[str]
    zeros: Sequence[Sequence[int]]
    times: Sequence[npt.NDArray[np.float64]]
    errors: Sequence[npt.NDArray[np.float64]]

    def within(self, seconds: float, logarithms: npt.NDArray[np.float64]) -> dict[str, int]:
        """The least sum of errors within a time that can be met, each times its coefficient."""
        errors = [error * c for error, c in zip(self.errors, np.exp(logarithms))]
        found = within(self.times, errors, seconds)
        assert found is not None
        return {name: zeros[level] for name, zeros, level in zip(self.names, self.zeros, found)}

    def single(self, choice: Choice) -> npt.NDArray[np.float64]:
        """Errors of the layers of a choice, each alone; linear between levels."""
        columns = zip(self.names, self.zeros, self.errors)
        return np.array([np.interp(choice[name], zeros, error) for name, zeros, error in columns])


@dataclass(frozen=True)
class Found:
    """A choice.

    Attributes:
        zeros: of each layer.
        origin: what proposed it.
        error: squared error of the outputs; None if nothing was tried.
    """

    zeros: dict[str, int]
    origin: str
    error: float | None


def search(
    layers: Layers,
    seconds: float,
    tried: Callable[[Choice], float],
    *,
    starts: Mapping[str, Choice],
    trials: int,
    seed: int,
) -> Found:
    """Look for zeros of each layer.

    Args:
        layers: what may be chosen.
        seconds: that all layers may take; it is known that they can.
        tried: choice -> squared error of the outputs.
        starts: further choices within the time, by name; never is the answer worse than one of these.
        trials: proposals that are tried beside these; 0: nothing is tried.
        seed: of the proposals.
    """
    random, even = np.random.default_rng(seed), np.zeros(len(layers.names))
    first = layers.within(seconds, even)
    if not trials:
        return Found(first, SINGLE, None)
    seen: dict[tuple[int, ...], Found] = {}

    def take(choice: Choice, origin: str) -> bool:
        key = tuple(choice[name] for name in layers.names)
        if key in seen:
            return False
        seen[key] = Found(dict(choice), origin, tried(choice))
        return True

    for origin, choice in {SINGLE: first, **starts}.items():
        take(choice, origin)
    for i in range(trials):
        found = list(seen.values())
        singles = np.array([layers.single(one.zeros) for one in found])
        middle = fitted(singles, np.array([one.error for one in found]))
        for draw in range(_DRAWS):
            width = _WIDTH if draw or i % 2 else 0.0
            moved = middle + width * random.normal(size=len(middle))
            if take(layers.within(seconds, moved), f"trial {i + 1} of {trials}"):
                break
    return min(seen.values(), key=lambda one: one.error or 0.0)


def fitted(singles: npt.NDArray[np.float64], errors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The logarithms of coefficients under which errors of single layers, [tries, layers], add up to those of tries."""
    single, wanted = singles + _LEAST, np.log(errors + _LEAST)
    weight = np.exp(wanted.min() - wanted)[:, None]
    ridge = _RIDGE * np.array([1.0] * single.shape[1] + [1e-3])  # the last is log b
    found = np.zeros(len(ridge))
    for _ in range(_STEPS):
        parts = single * np.exp(found[:-1] + found[-1])
        total = parts.sum(1, keepdims=True)
        slope = np.concatenate([parts / total, np.ones_like(total)], 1)
        gradient = slope.T @ (weight * (np.log(total) - wanted[:, None]))[:, 0] + ridge * found
        step = np.linalg.solve(slope.T @ (weight * slope) + np.diag(ridge), gradient)
        found = found - np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-6:
            break
    return np.asarray(found[:-1])
