# SPDX-License-Identifier: Apache-2.0
"""Which kernel runs a layer: sparse only where it was measured to be faster than our dense one."""

from __future__ import annotations

import numpy as np

from .net import Layer
from .plan import find_block

# The least sparsity at which the sparse kernel was not slower than the dense one, by block of outputs. From
# `python benchmarks/runtime.py break-even`, AVX-512, layers of MobileNetV1 and ResNet-50: see there.
BREAK_EVEN = {1: 0.3, 2: 0.2, 4: 0.1}
# A linear layer at batch 1 waits for memory, of which a sparse one needs 6 bytes for each weight that is kept, not 4.
BREAK_EVEN_LINEAR = 0.4
# One that the second-level cache holds is read fast when it is dense: layers of 128 to 512, batches of 1 and 8, and
# LSTMs of 128 and 256, which multiply by the same matrix at every step; in turn on AVX-512. One of 1024 waits again.
# A linear layer is a seventh slower there than dense, some microseconds, for half of the file.
BREAK_EVEN_CACHED = {
    "linear": {1: 0.7, 2: 0.6, 4: 0.5},
    "recurrent": {1: 0.87, 2: 0.8, 4: 0.75},
}
_CACHED = 1 << 18  # weights


def sparsity(weight: np.ndarray) -> float:
    """The fraction of exact zeros."""
    return 1.0 - np.count_nonzero(weight) / weight.size


def is_depthwise(layer: Layer) -> bool:
    """Whether the depthwise kernels cover this convolution."""
    filters, depth = layer.weight.shape[:2]
    return layer.groups == filters > 1 == depth and layer.window.stride[1] <= 2


def choose_block(layer: Layer) -> tuple[int, str]:
    """The kernel of a convolution of one group, of a linear layer, or of what a recurrent layer does at each step.

    Returns:
        0 for the dense kernel, else the outputs of one block of the sparse one; and why.
    """
    zeros = sparsity(layer.weight)
    block = find_block(layer.weight.reshape(len(layer.weight), -1))
    if layer.kind not in BREAK_EVEN_CACHED:
        least = BREAK_EVEN[block]
    elif layer.weight.size <= _CACHED:
        least = BREAK_EVEN_CACHED[layer.kind][block]
    else:
        least = BREAK_EVEN_LINEAR
    if zeros < least:
        return 0, f"{zeros:.0%} zeros; the sparse kernel gains from {least:.0%}"
    return block, f"{zeros:.0%} zeros" + (f" in {block}x1 blocks" if block > 1 else "")
