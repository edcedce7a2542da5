# SPDX-License-Identifier: Apache-2.0
"""Activations that do not fit into memory wait in a file."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from typing import Mapping

import numpy as np

from ..formats.atomic import full_disk_said

_SMALL = 1 << 16  # bytes of an array that stays in memory anyway


@dataclass
class Spill:
    """Keeps arrays in memory up to a bound, further ones in files without a name, which vanish with the arrays.

    Args:
        limit: bytes.
    """

    limit: float
    _held: int = field(default=0, init=False)

    def start(self) -> None:
        """Begin to count anew: what was kept so far is about to go."""
        self._held = 0

    def kept(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays, or their equals in files."""
        return {name: self._kept(array) for name, array in arrays.items()}

    def _kept(self, array: np.ndarray) -> np.ndarray:
        if array.nbytes <= _SMALL or isinstance(array, np.memmap):
            return array
        if self._held + array.nbytes <= self.limit:
            self._held += array.nbytes
            return array
        folder = tempfile.gettempdir()
        with full_disk_said(folder), tempfile.TemporaryFile(prefix="paddle_unstructured_", dir=folder) as file:
            array.tofile(file)
            file.flush()
            return np.memmap(file, array.dtype, "r", shape=array.shape)
