# SPDX-License-Identifier: Apache-2.0
"""bfloat16 in numpy, which has no such type: its bits as int16."""

from __future__ import annotations

import numpy as np

from ...formats import bfloat16


def rounded(numbers: np.ndarray) -> np.ndarray:
    """The bits of the nearest bfloat16, ties to even: int16. Below 2^-126 that is a zero of its sign; a NaN stays one.

    Example:
        >>> widened(rounded(np.float32([1.0, 1.01, -3e-39]))).tolist()
        [1.0, 1.0078125, -0.0]
    """
    bits = bfloat16.nearest(numbers)
    small = np.abs(numbers) < np.float32(2.0**-126)
    return np.where(small, bits & 0x8000, bits).astype(np.uint16).view(np.int16)


def rounded_weight(weight: np.ndarray) -> np.ndarray:
    """The same of weights, in which no zero has a sign: what is pruned may be -0."""
    bits = rounded(weight)
    return np.where(bits & 0x7FFF == 0, 0, bits).astype(np.int16)


def widened(bits: np.ndarray) -> np.ndarray:
    """Bits to the float32 that they mean."""
    return bfloat16.widened(np.asarray(bits, np.int16).view(np.uint16))
