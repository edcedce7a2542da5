# SPDX-License-Identifier: Apache-2.0
"""bfloat16 by its bits, the upper half of a float32's: numpy has no such type."""

from __future__ import annotations

from typing import Any

import numpy as np


def nearest(numbers: np.ndarray) -> np.ndarray:
    """The bits of the nearest bfloat16, ties to even.

    Args:
        numbers: float32 of any shape. A NaN stays one, quiet, of the same sign and upper payload.

    Returns:
        uint16 of the same shape. What is larger than the largest bfloat16 becomes infinite.

    Example:
        >>> widened(nearest(np.float32([1.0, 1.01, -2.0]))).tolist()
        [1.0, 1.0078125, -2.0]
    """
    numbers = np.asarray(numbers, np.float32, order="C")
    bits = numbers.view(np.uint32)
    wide = bits >> np.uint32(16)
    wide &= np.uint32(1)  # ties go to the even neighbour
    wide += bits
    wide += np.uint32(0x7FFF)
    halves = np.asarray((wide >> np.uint32(16)).astype(np.uint16))
    not_a_number = np.isnan(numbers)
    if not_a_number.any():  # the sum may have run over
        halves[not_a_number] = (bits[not_a_number] >> np.uint32(16)).astype(np.uint16) | np.uint16(0x40)
    return halves


def widened(bits: np.ndarray) -> np.ndarray:
    """The float32 numbers that uint16 bits mean."""
    wide = bits.astype(np.uint32)
    wide <<= np.uint32(16)
    return wide.view(np.float32)


def numbers(array: np.ndarray) -> np.ndarray:
    """The numbers of an array as Paddle gives it: it has no uint16, so that these are bits of bfloat16."""
    return widened(array) if array.dtype == np.uint16 else array


def as_paddle(numbers: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Numbers rounded to a dtype that Paddle has given an array in: the way back from `numbers`."""
    return nearest(numbers.astype(np.float32, copy=False)) if dtype == np.uint16 else numbers.astype(dtype)
