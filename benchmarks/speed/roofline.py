# SPDX-License-Identifier: Apache-2.0
"""What one core can do at most, measured on the spot by roofline.cpp."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

BLOCKS = (1, 2, 4)


@dataclass(frozen=True)
class Limits:
    """Attributes:
    fma: 1e9 multiply-adds per second, from registers.
    load: Bytes per second from the first-level cache.
    entries: By block, 1e9 multiply-adds per second of the sparse kernels' inner loop without its row ends: for one
        entry of a row, a broadcast for each output, a load for each vector of pixels, and their products.
    """

    fma: float
    load: float
    entries: dict[int, float]


def measure_limits() -> Limits:
    """Compile roofline.cpp and run it; needs g++ and AVX-512."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "roofline.so"
        subprocess.run(
            [
                "g++",
                "-O3",
                "-std=c++17",
                "-mavx512f",
                "-shared",
                "-fPIC",
                str(Path(__file__).with_suffix(".cpp")),
                "-o",
                str(library),
            ],
            check=True,
        )
        lib = ctypes.CDLL(str(library))
    for name in ("fma_rate", "load_rate", *(f"entry{block}_rate" for block in BLOCKS)):
        getattr(lib, name).restype = ctypes.c_double
    return Limits(lib.fma_rate(), lib.load_rate(), {block: getattr(lib, f"entry{block}_rate")() for block in BLOCKS})
