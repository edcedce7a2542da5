# SPDX-License-Identifier: Apache-2.0
"""How far a pruned net's outputs are from those of the dense net."""

from __future__ import annotations

from typing import Sequence

import numpy as np

Answers = Sequence[Sequence[np.ndarray]]  # of each batch its outputs


def relative(expected: Answers, outputs: Answers) -> float:
    """|y' - y|² / |y|²; an output of another shape, such as other boxes of a detector, counts as zeros would."""
    pairs = [(a.astype(np.float64), b) for one, other in zip(expected, outputs) for a, b in zip(one, other)]
    scale = sum(float(np.square(a).sum()) for a, _ in pairs)
    return sum(float(np.square(a - b if a.shape == b.shape else a).sum()) for a, b in pairs) / max(scale, 1e-30)


def agreement(expected: Answers, outputs: Answers) -> float | None:
    """Part of the samples whose largest output is the same; None where outputs are not [n, answers]."""
    pairs = [(one[0], other[0]) for one, other in zip(expected, outputs)]
    if any(a.ndim != 2 or a.shape[1] < 2 or a.shape != b.shape for a, b in pairs):
        return None
    return float(np.concatenate([a.argmax(1) == b.argmax(1) for a, b in pairs]).mean())
