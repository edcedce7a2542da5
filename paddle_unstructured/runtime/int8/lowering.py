# SPDX-License-Identifier: Apache-2.0
"""A net as the int8 kernels want it: activations that they do not fuse stand behind their layers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from ..net import FOLDING, FUSING, Layer, Net
from ..write_plan import in_order


def is_clamp(act: str) -> bool:
    """Whether saturation is all that an activation does: the int8 kernels fuse it for free."""
    return act.split(":")[0] in ("none", "relu", "relu6", "clamp")


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


def layers_of(net: Net) -> list[Layer]:
    """All layers that the outputs need, but not the inputs of the net; inputs before readers."""
    done, order = dict.fromkeys(net.inputs, 0), []
    for output in net.outputs:
        for layer in in_order(output.layer, done):
            done[layer] = 0
            order.append(layer)
    return order


def count_readers(net: Net) -> Counter[Layer]:
    """Layer -> how often it is read, outputs of the net included."""
    readers = Counter(source for layer in layers_of(net) for source in layer.inputs)
    readers.update(output.layer for output in net.outputs)
    return readers
