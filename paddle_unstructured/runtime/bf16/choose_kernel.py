# SPDX-License-Identifier: Apache-2.0
"""Which layers run in bfloat16: those that are faster there than in float32 on a processor with tiles."""

from __future__ import annotations

import numpy as np

from ..choose_kernel import sparsity
from ..net import Layer, step_of
from ..precision.layers import is_matrix, is_single_pixel
from ..precision.words import reordered
from .numbers import rounded_weight
from .plan_lines import INPUTS, OUTPUTS

LEAST_EMPTY = 0.1  # blocks of 16x2 that are zero, from which a file without them is smaller
# ResNet-50 takes as long on dense tiles as in float32 with 90 % zeros: `python benchmarks/runtime.py --bf16`.
MOST_FOR_ONE = 10  # products on tiles for each weight that is kept


def why_float32(layer: Layer) -> str:
    """Why a layer with weights stays in float32; empty if it runs in bfloat16."""
    if not is_matrix(layer) or layer.groups > 1 or step_of(layer):
        return "no bfloat16 kernel"
    if layer.kind == "linear" or is_single_pixel(layer):
        return "a tile of one pixel is mostly empty"
    if not np.isfinite(layer.weight).all():
        return "its weights are not finite"
    zeros, empty = sparsity(layer.weight), empty_blocks(layer)
    if 1.0 - empty > MOST_FOR_ONE * (1.0 - zeros):
        return f"its zeros leave {empty:.0%} of the {OUTPUTS}x{INPUTS} blocks out"
    return ""


def empty_blocks(layer: Layer) -> float:
    """The fraction of blocks of 16 outputs x 2 inputs that are all zero."""
    kept = (reordered(rounded_weight(layer.weight), INPUTS) != 0).any(2)
    kept = np.pad(kept, ((0, -len(kept) % OUTPUTS), (0, 0))).reshape(-1, OUTPUTS, kept.shape[1]).any(1)
    return 1.0 - np.count_nonzero(kept) / kept.size
