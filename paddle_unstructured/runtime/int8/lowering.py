# SPDX-License-Identifier: Apache-2.0
"""A net as the int8 kernels want it: activations that they do not fuse stand behind their layers."""

from __future__ import annotations

from dataclasses import replace

from ..net import FOLDING, FUSING, Layer, Net, layers_of
from ..precision.layers import is_clamp


def is_fused(layer: Layer) -> bool:
    """Whether its kernel computes its activation: a clamp, or hard-swish from the sums of products, rounded once."""
    return is_clamp(layer.act) or (layer.act == "hard_swish" and layer.kind in FOLDING)


def lower(net: Net) -> Net:
    """The same net with every other activation (sigmoid, GELU, ...) as a layer of its own."""
    made: dict[Layer, Layer] = {layer: layer for layer in net.inputs}
    for layer in layers_of(net):
        inputs = tuple(made[source] for source in layer.inputs)
        if layer.kind in FUSING and not is_fused(layer):
            made[layer] = Layer("activation", (replace(layer, inputs=inputs, act="none"),), act=layer.act)
        else:
            made[layer] = replace(layer, inputs=inputs)
    return Net(net.inputs, [replace(output, layer=made[output.layer]) for output in net.outputs])
