# SPDX-License-Identifier: Apache-2.0
"""From a net to a plan whose convolutions compute in bfloat16, and to the table of what runs what."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..choose_kernel import sparsity
from ..net import Layer, Net, layers_of
from ..plan import PlanWriter
from ..precision.layers import is_clamp, is_matrix, sums_in_convolutions
from ..write_plan import KernelChoice, emitter_of
from .choose_kernel import LEAST_EMPTY, empty_blocks, float_layers
from .plan_lines import INPUTS, OUTPUTS, Bf16Writer


def emit(net: Net) -> tuple[PlanWriter, list[KernelChoice]]:
    """The whole plan, and what runs its layers."""
    return Bf16Emitter(net).run()


@dataclass
class Bf16Emitter:
    """Writes layers one after the other; each value is made in bfloat16 or in float32, and in the other when it is read
    so.

    Args:
        net: the net, with float32 weights.
    """

    net: Net
    rounded: dict[Layer, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.outside = emitter_of(self.net)
        self.writer = Bf16Writer(self.outside.writer)
        self.floats = float_layers(self.net)
        sums = {layer for layer in self.floats if layer.kind == "add" and is_clamp(layer.act)}
        self.fused = sums_in_convolutions(self.net, self.floats.keys() - sums)
        ours = [layer for layer in layers_of(self.net) if layer not in self.floats]
        self.read_rounded = {source for layer in ours for source in layer.inputs}
        self.read_rounded |= {side for whole, layer in self.fused.items() for side in whole.inputs if side is not layer}

    def run(self) -> tuple[PlanWriter, list[KernelChoice]]:
        """The whole plan, and what runs its layers."""
        for layer in layers_of(self.net):
            if layer in self.fused.values():
                continue  # its sum is computed with it
            if layer in self.fused:
                self._convolution(self.fused[layer], layer)
            elif layer in self.floats:
                self._stay_outside(layer)
            elif is_matrix(layer):
                self._convolution(layer)
            else:
                self.rounded[layer] = self._on_planes(layer, self._rounded(layer.inputs[0]))
        for output in self.net.outputs:
            self.outside.writer.output(self._real(output.layer), dims=output.dims, dtype=output.dtype)
        return self.outside.writer, self.outside.choices

    def _real(self, layer: Layer) -> int:
        """Its value in float32."""
        if layer not in self.outside.values:
            self.outside.values[layer] = self.writer.widen(self.rounded[layer])
        return self.outside.values[layer]

    def _rounded(self, layer: Layer) -> int:
        """Its value in bfloat16."""
        if layer not in self.rounded:
            self.rounded[layer] = self.writer.round(self.outside.values[layer])
        return self.rounded[layer]

    def _stay_outside(self, layer: Layer) -> None:
        for source in layer.inputs:
            self._real(source)
        before = len(self.outside.choices)
        self.outside.emit(layer)
        for i in range(before, len(self.outside.choices)):
            choice = self.outside.choices[i]
            why = f"{choice.why}; in float32: {self.floats[layer]}"
            self.outside.choices[i] = replace(choice, kernel=f"fp32 {choice.kernel}", why=why)

    def _on_planes(self, layer: Layer, value: int) -> int:
        if layer.kind == "pool":
            return self.writer.pool(value, layer.window, layer.words)
        self.outside.note(layer, "bf16 depthwise", "one filter per channel")
        return self.writer.depthwise(value, layer.weight, layer.bias, layer.window, act=layer.act)

    def _convolution(self, layer: Layer, whole: Layer | None = None) -> None:
        """A convolution; with `whole`, and the sum behind it."""
        result = whole or layer
        empty = empty_blocks(layer)
        sparse = empty >= LEAST_EMPTY
        why = f"{sparsity(layer.weight):.0%} zeros, {empty:.0%} of the {OUTPUTS}x{INPUTS} blocks"
        self.outside.note(
            layer,
            f"bf16 sparse {OUTPUTS}x{INPUTS}" if sparse else "bf16 dense",
            f"{why}; with the sum behind it" if whole else why,
        )
        added = next((self._rounded(side) for side in result.inputs if side is not layer), None) if whole else None
        real = result not in self.read_rounded or not is_clamp(result.act)
        made = self.writer.convolution(
            self._rounded(layer.inputs[0]),
            layer.weight,
            layer.bias,
            layer.window,
            real=real,
            sparse=sparse,
            act=result.act,
            added=added,
        )
        (self.outside.values if real else self.rounded)[result] = made
