# SPDX-License-Identifier: Apache-2.0
"""What a layer is to kernels of fewer bits: a matrix, a single pixel, a sum that a convolution computes."""

from __future__ import annotations

from collections import Counter
from typing import Container

from ..choose_kernel import is_depthwise
from ..net import Layer, Net, input_of, layers_of

_SAME_PIXELS = ("add", "multiply", "activation", "affine", "conv", "pool", "concat", "slice")


def is_clamp(act: str) -> bool:
    """Whether saturation is all that an activation does: kernels fuse it for free."""
    return act.split(":")[0] in ("none", "relu", "relu6", "clamp")


def is_matrix(layer: Layer) -> bool:
    """Whether the general kernel runs it, weights times a panel of inputs: the one that can return float32."""
    return layer.kind in ("conv", "linear") and not (layer.groups > 1 and is_depthwise(layer))


def is_single_pixel(layer: Layer) -> bool:
    """Whether each channel is one number, whatever the size of the input image."""
    while True:
        if layer.kind in ("global_pool", "flatten", "linear", "softmax"):
            return True
        if layer.kind == "input":
            return not {"h", "w"} & set(input_of(layer).axes)
        if layer.kind in ("conv", "pool") and (max(layer.window.kernel) > 1 or max(layer.window.pad) > 0):
            return False
        if layer.kind not in _SAME_PIXELS or layer.words.get("axis", "channels") != "channels":
            return False
        if len(layer.inputs) > 1:
            return all(is_single_pixel(source) for source in layer.inputs)
        layer = layer.inputs[0]


def sums_in_convolutions(net: Net, floats: Container[Layer]) -> dict[Layer, Layer]:
    """Sums that a convolution before them computes before it rounds: once, not twice.

    Args:
        net: the net.
        floats: layers that stay in float32.

    Returns:
        the sum -> the convolution: its later side, which nothing else reads and which has no activation.
    """
    layers = layers_of(net)
    place = {layer: number for number, layer in enumerate(layers)}
    outputs = {output.layer for output in net.outputs}
    readers = Counter(source for layer in layers for source in layer.inputs)
    found = {}
    for layer in layers:
        if layer.kind != "add" or layer in floats or layer.inputs[0] is layer.inputs[1] or "repeats" in layer.words:
            continue
        last = max(layer.inputs, key=lambda side: place.get(side, -1))
        if is_matrix(last) and last.act == "none" and last not in floats and readers[last] == 1 and last not in outputs:
            found[layer] = last
    return found
