# SPDX-License-Identifier: Apache-2.0
"""How far the outputs of two models of the same net are apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import numpy as np


@dataclass(frozen=True)
class Agreement:
    """How near a second model's outputs are to the first one's.

    Attributes:
        samples: number of inputs that both got.
        same_first: Fraction of them for which both rank the same output first.
        largest: The largest difference of an output, as a fraction of the first model's largest |output|.
        mean: The mean difference, as the same fraction.
    """

    samples: int
    same_first: float
    largest: float
    mean: float

    def __str__(self) -> str:
        return (
            f"same first answer {self.same_first:.2%} of {self.samples} samples; outputs differ by at most "
            f"{self.largest:.1e} of the largest, {self.mean:.1e} on average"
        )


def compare(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> Agreement:
    """Compare all outputs of two models, each [samples, ...]; with several outputs the worst counts, and the first one
    ranks.

    Raises:
        ValueError: They are of different shapes.
    """
    if [x.shape for x in a] != [x.shape for x in b]:
        raise ValueError(
            f"`a` and `b` must be models of the same net, but return {[list(x.shape) for x in a]} and "
            f"{[list(x.shape) for x in b]}."
        )
    differences = [
        np.abs(x - y) / max(float(np.abs(x).max()), 1e-30) for x, y in zip(_reals(a), _reals(b)) if x.size
    ] or [np.zeros(1)]
    ranked = [np.atleast_1d(outputs[0]) for outputs in (a, b)]
    first = [one.reshape(len(one), -1).argmax(1) if one.size else np.zeros(1) for one in ranked]
    return Agreement(
        len(ranked[0]),
        float((first[0] == first[1]).mean()),
        max(float(d.max()) for d in differences),
        max(float(d.mean()) for d in differences),
    )


def _reals(outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Outputs of any type as numbers that can be subtracted."""
    return [np.asarray(each, np.float64) for each in outputs]
