# SPDX-License-Identifier: Apache-2.0
"""Which int8 kernel runs a layer with weights: sparse where that is not slower than dense."""

from __future__ import annotations

import numpy as np

from ..plan import find_block

# The least part of 1x4 blocks that are zero at which the sparse kernel was not slower than the dense one, by block of
# outputs. From `python benchmarks/runtime.py break-even --int8`, AVX512-VNNI, convolutions of 32 to 1024 channels.
# Blocks of 16 and 32 run as blocks of 4, or on tiles of 16 outputs where the processor has them.
BLOCKS = (32, 16, 4, 2, 1)
BREAK_EVEN = {1: 0.4, 2: 0.1, 4: 0.1, 16: 0.1, 32: 0.1}
# Linear layers at batch 1, between what 1024 and 2048 inputs ask for: a kept block of 4 needs 6 bytes, not 4.
BREAK_EVEN_LINEAR = {1: 0.7, 2: 0.5, 4: 0.4, 16: 0.4, 32: 0.4}


def choose_block(matrix: np.ndarray, zeros: float, *, linear: bool) -> tuple[int, str, str]:
    """The kernel of a convolution of one group, or of a linear layer.

    Args:
        matrix: int8 [outputs, depth, 4], as `reordered` gives it.
        zeros: The fraction of single weights that are zero, for people.
        linear: A linear layer.

    Returns:
        0 for the dense kernel, else the outputs of one block of the sparse one; the kernel's name; and why.
    """
    kept = (matrix != 0).any(2)
    block, empty = find_block(kept, blocks=BLOCKS), 1.0 - np.count_nonzero(kept) / kept.size
    least = (BREAK_EVEN_LINEAR if linear else BREAK_EVEN)[block]
    why = f"{zeros:.0%} zeros, {empty:.0%} of the 1x4 blocks"
    if empty < least:
        return 0, "int8 dense", f"{why}; the sparse kernel gains from {least:.0%}"
    return block, f"int8 sparse {block}x4", why
