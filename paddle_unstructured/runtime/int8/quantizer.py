# SPDX-License-Identifier: Apache-2.0
"""Between real numbers and bytes: real = scale * (q - zero)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SMALLEST_SCALE = 1e-30  # its square and its inverse are still float32


@dataclass(frozen=True)
class Quantizer:
    """How one activation is stored in int8.

    Attributes:
        scale: A float32 as a Python float, > 0.
        zero: The byte that means 0.0, in [0, 255]: a padded pixel and a ReLU's zero are exact.
    """

    scale: float
    zero: int

    @classmethod
    def of_range(cls, low: float, high: float) -> Quantizer:
        """The quantizer whose 256 numbers reach from low to high; the range is widened to hold 0.

        Example:
            >>> Quantizer.of_range(-0.5, 2.05)
            Quantizer(scale=0.009999999776482582, zero=50)
        """
        low, high = min(low, 0.0), max(high, 0.0)
        scale = float(np.float32(max((high - low) / 255, SMALLEST_SCALE))) if high > low else 1.0
        return cls(scale, int(np.clip(np.rint(-low / scale), 0, 255)))

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest number."""
        return -self.zero * self.scale, (255 - self.zero) * self.scale

    @property
    def words(self) -> dict[str, str]:
        """As a line of the plan says it; every digit counts."""
        return {"scale": repr(self.scale), "zero": str(self.zero)}

    def real(self) -> np.ndarray:
        """What each of the 256 bytes means, float64."""
        return self.scale * (np.arange(256) - self.zero)

    def bytes(self, real: np.ndarray) -> np.ndarray:
        """To the nearest byte, ties to even, saturated."""
        return np.clip(np.rint(np.asarray(real, np.float64) / self.scale + self.zero), 0, 255).astype(np.uint8)
