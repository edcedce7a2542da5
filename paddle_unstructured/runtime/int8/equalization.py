# SPDX-License-Identifier: Apache-2.0
"""Cross-layer equalisation: channels of one layer's output scaled to be alike, and scaled back by the next."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..choose_kernel import is_depthwise
from ..net import Layer, Net, count_readers, layers_of, step_of

ROUNDS = 10


def equalize(net: Net) -> Net:
    """Balance the ranges of weights along each chain of convolutions, without changing what the net computes.

    Between two layers with ReLU or nothing in between, whose first is read by the second only, for each channel c:
        s_c = sqrt(r1_c / r2_c),   W1_c /= s_c,   b1_c /= s_c,   W2_c *= s_c
    with r1_c the largest |weight| into the channel and r2_c the largest out of it, until nothing changes much. In a
    chain conv -> depthwise -> conv both pairs take their turns. Other activations (ReLU6) are no multiples of their
    input's multiples, so such pairs stay as they are. A channel without weights on one side stays as it is.

    Args:
        net: As `lower` gives it.

    Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019,
        arXiv:1906.04721 (section 4.1).
    """
    weights = {layer: (layer.weight, layer.bias) for layer in layers_of(net) if layer.weight.size}
    pairs = _pairs(net)
    for _ in range(ROUNDS):
        for first, second in pairs:
            _balance(weights, first, second)
    return _rebuilt(net, weights)


def _pairs(net: Net) -> list[tuple[Layer, Layer]]:
    readers = count_readers(net)
    return [
        (layer.inputs[0], layer)
        for layer in layers_of(net)
        if _takes_part(layer)
        and _takes_part(layer.inputs[0])
        and readers[layer.inputs[0]] == 1
        and layer.inputs[0].act in ("none", "relu")
    ]


def _takes_part(layer: Layer) -> bool:
    if step_of(layer):
        return False
    return layer.kind == "linear" or (layer.kind == "conv" and (layer.groups == 1 or is_depthwise(layer)))


def _balance(weights: dict[Layer, tuple[np.ndarray, np.ndarray]], first: Layer, second: Layer) -> None:
    (weight, bias), (after, after_bias) = weights[first], weights[second]
    into = np.abs(weight).reshape(len(weight), -1).max(1)
    axes = (1, 2, 3) if second.groups > 1 else (0, 2, 3)
    out = np.abs(after).max(axes)
    known = (into > 0) & (out > 0)
    scale = np.sqrt(np.where(known, into, 1) / np.where(known, out, 1))
    weights[first] = weight / scale[:, None, None, None], bias / scale
    spread = scale[:, None, None, None] if second.groups > 1 else scale[None, :, None, None]
    weights[second] = after * spread, after_bias


def _rebuilt(net: Net, weights: dict[Layer, tuple[np.ndarray, np.ndarray]]) -> Net:
    made = {layer: layer for layer in net.inputs}
    for layer in layers_of(net):
        weight, bias = weights.get(layer, (layer.weight, layer.bias))
        made[layer] = replace(layer, inputs=tuple(made[each] for each in layer.inputs), weight=weight, bias=bias)
    return Net(net.inputs, [replace(output, layer=made[output.layer]) for output in net.outputs])
