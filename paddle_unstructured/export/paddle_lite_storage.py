# SPDX-License-Identifier: Apache-2.0
"""Paddle Lite's sparse storages of a 1x1 convolution's weight: how its zeros are counted, and the bytes."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

STORAGES = ("fp32", "fp32 sparse", "fp32 2x1", "int8", "int8 sparse", "int8 2x1")
DENSE = {"fp32": 4, "int8": 1}  # bytes of a value
_BLOCK = {"sparse": 1, "2x1": 2}  # output channels that share one index
_INDEX = 4  # bytes of an index, and of an output channel's count


@dataclass(frozen=True)
class Zeros:
    """How the nonzeros of a 1x1 conv weight [out, in] lie, counted as Paddle Lite does.

    Attributes:
        weights, kept: All values, and those that are not zero.
        kept_padded: `kept` with each output channel's count rounded up to a multiple of 4 (fp32 kernel 1x1).
        pairs: Occupied aligned pairs: channels 2i and 2i + 1 at one input, at least one of the two nonzero.
        kept_in_pairs: Nonzeros in them. The last channel of an odd number is in no pair.
        channels: Output channels.
    """

    weights: int
    kept: int
    kept_padded: int
    pairs: int
    kept_in_pairs: int
    channels: int

    @property
    def is_2x1(self) -> bool:
        """Whether at least 90 % of the values in occupied pairs are nonzero."""
        return self.kept_in_pairs * 5 >= self.pairs * 9

    @property
    def counted(self) -> int:
        """The zeros that count against the threshold: for the 2x1 kernel only those outside occupied pairs."""
        alone = self.kept - self.kept_in_pairs
        return self.weights - (2 * self.pairs + alone if self.is_2x1 else self.kept)

    def bytes(self, storage: str) -> int:
        """What one of `STORAGES` takes; the formula is in `lite_report`."""
        kind, _, kernel = storage.partition(" ")
        if not kernel:
            return DENSE[kind] * self.weights
        alone = self.kept - self.kept_in_pairs
        if kernel == "2x1":
            return DENSE[kind] * (2 * self.pairs + alone) + _INDEX * (self.pairs + alone + self.channels)
        stored = self.kept_padded if kind == "fp32" else self.kept
        return (DENSE[kind] + _INDEX) * stored + _INDEX * self.channels

    def break_even(self, storage: str) -> float | None:
        """The least sparsity at which the storage is smaller than the dense one; None if it never is."""
        kind, kernel = storage.split()
        each = DENSE[kind] + _INDEX / _BLOCK[kernel]  # bytes a kept value: 8, 6, 5 or 3
        kept = ceil((DENSE[kind] * self.weights - _INDEX * self.channels) / each) - 1
        return (self.weights - kept) / self.weights if kept >= 0 else None


def count_zeros(weight: np.ndarray) -> Zeros:
    """Count the nonzeros of a weight [out, in] as Paddle Lite does."""
    kept = weight != 0
    channels = len(kept)
    rows = kept.sum(axis=1)
    paired = kept[: channels - channels % 2].reshape(channels // 2, 2, kept.shape[1])  # [out/2, 2, in]
    return Zeros(
        kept.size,
        int(kept.sum()),
        int((-(-rows // 4) * 4).sum()),
        int(paired.any(axis=1).sum()),
        int(paired.sum()),
        channels,
    )
