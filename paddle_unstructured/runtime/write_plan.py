# SPDX-License-Identifier: Apache-2.0
"""From layers to a plan, and to the table that says what runs each of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .choose_kernel import choose_block, is_depthwise, sparsity
from .net import Layer, Net, input_of, layers_of, step_of, ungrouped
from .plan import PlanWriter


@dataclass(frozen=True)
class KernelChoice:
    """What runs a layer with weights, and why.

    Attributes:
        layer: The name of its weight.
        shape: shape of the weight, as [outputs, inputs/groups, kernel rows, kernel columns].
        sparsity: The fraction of exact zeros in it.
        kernel: "sparse", "sparse 2x1", "sparse 4x1", "dense", "depthwise" or "affine"; of an int8 model "int8 sparse
            1x4", "int8 dense", ..., or "fp32 ..." for what stays in float32.
        why: For people.
        output: output of an int8 model: the range that the layer's bytes cover, or "float32".
    """

    layer: str
    shape: tuple[int, ...]
    sparsity: float
    kernel: str
    why: str
    output: str = ""


@dataclass
class Emitter:
    """Writes layers one after the other; `values` knows the number of each that is done."""

    writer: PlanWriter
    choices: list[KernelChoice] = field(default_factory=list)
    values: dict[Layer, int] = field(default_factory=dict)

    def convolution(self, layer: Layer, value: int) -> int:
        if layer.groups > 1 and is_depthwise(layer):
            self.note(layer, "depthwise", "one filter per channel")
            return self.writer.depthwise(value, layer.weight, layer.bias, layer.window, act=layer.act)
        if layer.groups > 1:
            self.note(layer, "sparse", f"{layer.groups} groups as a block-diagonal sparse matrix")
            return self.matrix(layer, value, ungrouped(layer.weight, layer.groups), 1)
        block, why = choose_block(layer)
        self.note(layer, "dense" if block == 0 else "sparse" if block == 1 else f"sparse {block}x1", why)
        return self.matrix(layer, value, layer.weight, block)

    def recurrent(self, layer: Layer, inputs: list[int]) -> int:
        block, why = choose_block(layer)
        self.note(layer, "dense" if block == 0 else "sparse" if block == 1 else f"sparse {block}x1", why)
        return self.writer.recurrent(inputs, layer.weight[:, :, 0, 0], layer.bias, block=block, **layer.words)

    def matrix(self, layer: Layer, value: int, weight: np.ndarray, block: int) -> int:
        return self.writer.convolution(
            value,
            weight,
            layer.bias,
            layer.window,
            block=block,
            act=layer.act,
            linear=layer.kind == "linear",
            step=step_of(layer),
        )

    def note(self, layer: Layer, kernel: str, why: str) -> None:
        self.choices.append(KernelChoice(layer.name, tuple(layer.weight.shape), sparsity(layer.weight), kernel, why))

    def emit(self, layer: Layer) -> None:
        inputs = [self.values[source] for source in layer.inputs]
        if layer.kind in ("conv", "linear"):
            made = self.convolution(layer, inputs[0])
        elif layer.kind == "recurrent":
            made = self.recurrent(layer, inputs)
        elif layer.kind == "affine":
            made = self.writer.affine(inputs[0], layer.weight, layer.bias, act=layer.act)
        elif layer.kind in ("pool", "place"):
            made = self.writer.add(layer.kind, inputs, **layer.window.words, **layer.words)
        else:
            act = {"act": layer.act} if layer.act != "none" else {}
            arrays = [array for array in (layer.weight, layer.bias) if array.size]
            params = {"params": self.writer.keep(*arrays)} if arrays else {}
            made = self.writer.add(layer.kind, inputs or [0], **layer.words, **act, **params)
        self.values[layer] = made


def emitter_of(net: Net) -> Emitter:
    """One that has written the inputs."""
    return Emitter(
        PlanWriter([input_of(layer) for layer in net.inputs]), values={each: i for i, each in enumerate(net.inputs)}
    )


def emit(net: Net) -> tuple[PlanWriter, list[KernelChoice]]:
    """Write the plan of a net; only what its outputs need."""
    emitter = emitted(net)
    return emitter.writer, emitter.choices


def emitted(net: Net) -> Emitter:
    """The same with the value that each layer makes."""
    emitter = emitter_of(net)
    for layer in layers_of(net):
        emitter.emit(layer)
    for output in net.outputs:
        emitter.writer.output(emitter.values[output.layer], dims=output.dims, dtype=output.dtype)
    return emitter
