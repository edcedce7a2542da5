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
        same_first: Fraction of the answers for which both rank the same class first. An output [samples, classes] has
            an answer for each sample, [samples, positions, classes] for each position, [samples, classes, h, w] for
            each pixel.
        answers: number of answers.
        each: what has an answer: "samples", "positions" or "pixels".
        largest: The largest difference of an output, as a fraction of the first model's largest |output|.
        mean: The mean difference, as the same fraction.
        rows: Rows of an output of which the two return different numbers, as detectors do behind NMS, so that nobody
            knows which belong together: nothing is compared then, and the other numbers are NaN or 0. Else None.
    """

    samples: int
    same_first: float
    answers: int
    each: str
    largest: float
    mean: float
    rows: tuple[int, int] | None = None

    def __str__(self) -> str:
        if self.rows:
            return f"outputs of {self.rows[0]} and {self.rows[1]} rows, which of them belong together is not known"
        of = f" of {self.samples} samples" if self.each != "samples" else ""
        return (
            f"same first answer {self.same_first:.2%} of {self.answers} {self.each}{of}; outputs differ by at most "
            f"{self.largest:.1e} of the largest, {self.mean:.1e} on average"
        )


def compare(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> Agreement:
    """Compare all outputs of two models, each [samples, ...]; with several outputs the worst counts, and the first one
    ranks.

    Raises:
        ValueError: They are of different shapes, beyond the number of rows.
    """
    if [x.shape[1:] for x in a] != [x.shape[1:] for x in b]:
        raise ValueError(
            f"`a` and `b` must be models of the same net, but return {[list(x.shape) for x in a]} and "
            f"{[list(x.shape) for x in b]}."
        )
    unlike = [(len(x), len(y)) for x, y in zip(a, b) if x.shape != y.shape]
    if unlike:
        return Agreement(0, np.nan, 0, "samples", np.nan, np.nan, unlike[0])
    differences = [
        np.abs(x - y) / max(float(np.abs(x).max()), 1e-30) for x, y in zip(_reals(a), _reals(b)) if x.size
    ] or [np.zeros(1)]
    ranked = [np.atleast_1d(outputs[0]) for outputs in (a, b)]
    first, each = zip(*map(first_answers, ranked))
    return Agreement(
        len(ranked[0]),
        float((first[0] == first[1]).mean()),
        first[0].size if ranked[0].size else 0,
        each[0],
        max(float(d.max()) for d in differences),
        max(float(d.mean()) for d in differences),
    )


def first_answers(output: np.ndarray) -> tuple[np.ndarray, str]:
    """The class that each answer of an output ranks first, and what has an answer: samples, positions or pixels."""
    if not output.size:
        return np.zeros(1), "samples"
    if output.ndim < 3:
        return output.reshape(len(output), -1).argmax(1), "samples"
    return (output.argmax(2), "positions") if output.ndim == 3 else (output.argmax(1), "pixels")


def _reals(outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Outputs of any type as numbers that can be subtracted."""
    return [np.asarray(each, np.float64) for each in outputs]
