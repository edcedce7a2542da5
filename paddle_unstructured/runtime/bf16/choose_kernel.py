# SPDX-License-Identifier: Apache-2.0
"""Which layers compute in bfloat16, and which stay in float32 and why."""

from __future__ import annotations

import numpy as np

from ..choose_kernel import sparsity
from ..net import Layer, Net, layers_of, step_of
from ..plan import Window
from ..precision.layers import is_clamp, is_matrix, is_single_pixel
from ..precision.words import reordered
from .numbers import rounded_weight
from .plan_lines import INPUTS, OUTPUTS

LEAST_EMPTY = 0.1  # blocks of 16x2 that are zero, from which a file without them is smaller
# Products on tiles for each weight that is kept, up to which tiles are not slower than float32's sparse kernel: layers
# of ResNet-50 and MobileNet, zeros at random, in turn on an Intel Xeon with AMX. Of 512 -> 512 (1x1, 14x14 pixels)
# tiles gain up to 91 % zeros; of 2^20 weights, which the second-level cache does not hold, up to 80 %.
MOST_FOR_ONE, MOST_FOR_ONE_LARGE = 10, 5
LARGE = 1 << 20  # weights
# A single pixel leaves 15 of 16 columns of a tile empty, and yet 1024 -> 1000 takes half the time of float32, which
# reads twice as much: 37 against 77 us at 75 % zeros. 512 -> 100 takes 1.3 times as long.
LEAST_SINGLE = 1 << 18  # weights


def float_layers(net: Net) -> dict[Layer, str]:
    """The layers that stay in float32 -> why."""
    layers = layers_of(net)
    floats = {layer: why for layer in layers if (why := _why_float32(layer))}
    ours = {layer for layer in layers if layer not in floats and is_matrix(layer)}
    others = {layer for layer in layers if layer not in floats and layer not in ours}
    for layer in layers:  # they gain where a convolution rounds what they read, or reads what they make
        if layer in others and layer.inputs[0] in ours:
            ours.add(layer)
    for layer in reversed(layers):
        if layer in ours:
            ours |= others & set(layer.inputs)
    floats.update(dict.fromkeys(others - ours, "between layers in float32"))
    return floats


def _why_float32(layer: Layer) -> str:
    """Empty if it can run in bfloat16."""
    if layer.kind == "pool" and layer.words["type"] == "max" and max(layer.window.stride) <= 2:
        return ""
    if layer.kind not in ("conv", "linear") or step_of(layer):
        return "no bfloat16 kernel"
    if not np.isfinite(layer.weight).all():
        return "its weights are not finite"
    if not is_matrix(layer):
        if not _is_small_square(layer.window):
            return "no bfloat16 kernel for its window"
        return "" if is_clamp(layer.act) else "no bfloat16 kernel for its activation"
    if layer.groups > 1:
        return "no bfloat16 kernel for groups"
    if is_single_pixel(layer) and layer.weight.size < LEAST_SINGLE:
        return "a tile of one pixel is mostly empty"
    zeros, empty = sparsity(layer.weight), empty_blocks(layer)
    most = MOST_FOR_ONE if layer.weight.size < LARGE else MOST_FOR_ONE_LARGE
    if 1.0 - empty > most * (1.0 - zeros):
        return f"its zeros leave {empty:.0%} of the {OUTPUTS}x{INPUTS} blocks out"
    return ""


def _is_small_square(window: Window) -> bool:
    kernel, stride, dilation = window.kernel, window.stride, window.dilation
    return kernel in ((3, 3), (5, 5)) and stride in ((1, 1), (2, 2)) and dilation == (1, 1)


def empty_blocks(layer: Layer) -> float:
    """The fraction of blocks of 16 outputs x 2 inputs that are all zero."""
    kept = (reordered(rounded_weight(layer.weight), INPUTS) != 0).any(2)
    kept = np.pad(kept, ((0, -len(kept) % OUTPUTS), (0, 0))).reshape(-1, OUTPUTS, kept.shape[1]).any(1)
    return 1.0 - np.count_nonzero(kept) / kept.size
