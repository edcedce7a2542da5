# SPDX-License-Identifier: Apache-2.0
"""How far a pruned net's outputs are from those of the dense net."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Sequence

import numpy as np

from ..formats import bfloat16
from ..saved_model import Model
from .samples import Feed, count_of, said_of
from .spill import let_go, trim

_LEAST = float(np.finfo(np.float64).tiny)
_EQUAL = 1e-6  # sums in another order part float32 outputs by as much
Answers = Sequence[Sequence[np.ndarray]]  # of each batch its outputs


@dataclass(frozen=True)
class Nearness:
    """How near a pruned net's outputs are to the dense net's.

    Attributes:
        error: |outputs - dense outputs| / |dense outputs|, in the Euclidean norm; outputs of another shape than the
            dense net's, such as fewer boxes, count as zeros. Whole numbers, such as places of maxima, are not looked at
            beside others; where there are no others, the square root of the part of them that differ.
        agreement: part of the inputs whose largest output is that of the dense net; None where outputs are not
            [n, answers].
    """

    error: float
    agreement: float | None

    def is_beyond(self, other: Nearness) -> bool:
        """Whether outputs are further away than those of another net; what is not a number is."""
        return self.error > max(other.error, _EQUAL) or (math.isnan(self.error) and not math.isnan(other.error))


@dataclass(frozen=True)
class Judge:
    """Inputs that nothing is learned from, and what the dense net answers to them."""

    model: Model
    held: Sequence[Feed]
    expected: Answers

    @classmethod
    def of(cls, model: Model, held: Sequence[Feed]) -> Judge:
        """For a model that is dense still; ValueError if it returns no numbers to judge it by."""
        expected = _answers(model, held)
        if not any(output.size for outputs in expected for output in outputs):
            raise ValueError(
                f"{model.files.prefix} must return numbers to be judged by, and returns none for `data`: every output "
                "has an extent of 0; give inputs, or a model, that it has some for."
            )
        return cls(model, held, expected)

    @property
    def count(self) -> int:
        """Inputs."""
        return sum(count_of(feed) for feed in self.held)

    def near(self) -> Nearness:
        """How near the model is as it is now."""
        outputs = _answers(self.model, self.held)
        return Nearness(relative(self.expected, outputs) ** 0.5, agreement(self.expected, outputs))


def _answers(model: Model, feeds: Sequence[Feed]) -> list[list[np.ndarray]]:
    found = []
    for feed in feeds:
        with said_of(feed):
            found.append([bfloat16.numbers(output) for output in model.run(**feed)])
        for array in feed.values():
            let_go(array)
        trim()
    return found


def relative(expected: Answers, outputs: Answers) -> float:
    """|y' - y|² / |y|²; an output of another shape, such as other boxes of a detector, counts as zeros would.

    Whole numbers are names of something, a class or a place: the next one is no nearer than any other.
    """
    pairs = [pair for one, other in zip(expected, outputs) for pair in zip(one, other)]
    measured = [(a.astype(np.float64), b) for a, b in pairs if a.dtype.kind == "f"]
    if not measured:
        measured = [(np.ones(a.shape), (a == b).astype(np.float64) if a.shape == b.shape else b) for a, b in pairs]
    scale = sum(float(np.square(a).sum()) for a, _ in measured)
    apart = sum(float(np.square(a - b if a.shape == b.shape else a).sum()) for a, b in measured)
    return apart / max(scale, _LEAST)


def agreement(expected: Answers, outputs: Answers) -> float | None:
    """Part of the samples whose largest output is the same; None where outputs are not [n, answers]."""
    pairs = [(one[0], other[0]) for one, other in zip(expected, outputs)]
    if any(a.ndim != 2 or a.shape[1] < 2 or a.shape != b.shape for a, b in pairs):
        return None
    return float(np.concatenate([a.argmax(1) == b.argmax(1) for a, b in pairs]).mean())
