# SPDX-License-Identifier: Apache-2.0
"""A number for the bits of a tensor, computed where the tensor is."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import paddle
from paddle import Tensor

CHUNK = 1 << 16  # words; small enough to stay in a CPU's cache, so that no fresh memory is touched
FACTOR = 0x5851F42D4C957F2D  # odd (Knuth's MMIX generator), so a product with it loses nothing modulo 2^64
_BITS = (1 << 64) - 1
_WORDS = {4: "int32", 2: "int16", 1: "int8"}


def checksum(tensor: Tensor) -> int:
    """Sum up a tensor's bits as integers, each times a random odd number of its place, modulo 2^64.

    h = sum_j x_j p_j within chunks of 65,536 words, of 32 bits or as narrow as the dtype is, and over the chunks' sums
    by Horner's rule. Sums of integers do not depend on their order; one word that differs always shows. Nothing but
    one number per chunk visits the host.

    Args:
        tensor: An eager tensor, on any device.

    Returns:
        0 to 2^64 - 1.
    """
    # Eager, since a static Program cannot look at a float's bits: view_dtype has no kernel there (Paddle 3.3.1).
    with paddle.base.dygraph.guard(tensor.place), paddle.no_grad():
        flat = tensor.reshape([-1])
        if flat.shape[0] == 0:
            return 0
        words = flat.view(_WORDS[min(flat.element_size(), 4)])  # a view of wider words ends the process (3.0)
        coefficients = _on(str(tensor.place))
        sums = [_sum(words[start : start + CHUNK], coefficients) for start in range(0, words.shape[0], CHUNK)]
        parts = paddle.stack(sums).tolist()
    total = 0
    for part in parts:
        total = (total * FACTOR + part) & _BITS
    return total


def places() -> np.ndarray:
    """The numbers of the places in a chunk, the same on every rank; int64 [65536]."""
    return np.random.default_rng(1).integers(-(2**62), 2**62, CHUNK) * 2 + 1


@functools.lru_cache(maxsize=8)
def _on(place: str) -> Any:
    return paddle.to_tensor(places())  # on the device of the guard that stands around


def _sum(words: Any, coefficients: Any) -> Any:
    return (words.cast("int64") * coefficients[: words.shape[0]]).sum()
