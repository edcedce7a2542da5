# SPDX-License-Identifier: Apache-2.0
"""From a net and its quantizers to a plan in int8, and to the table of what runs what."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Mapping

import numpy as np

from ..choose_kernel import sparsity
from ..net import Layer, Net, layers_of, step_of, ungrouped
from ..plan import PlanWriter, Window
from ..precision.layers import is_clamp, is_matrix, is_single_pixel, sums_in_convolutions
from ..precision.words import reordered
from ..write_plan import KernelChoice, emitter_of
from .activations import activation, function_of, table
from .assign_scales import MOVING, keeps_scale
from .choose_kernel import choose_block
from .plan_lines import Int8Writer
from .quantizer import Quantizer
from .weights import GROUP, Int8Weight, quantize_weight

_AROUND = Window((3, 3), pad=(1, 1, 1, 1))


@dataclass
class Int8Emitter:
    """Writes layers one after the other; each value is made in int8 or in float32, and in the other when it is read so.

    Args:
        net: As `lower` gives it.
        quantizers: each layer -> its quantizer.
        floats: each layer that stays in float32 -> why.
        means: a layer -> the mean of each channel, for the correction of biases; of those that are known.
    """

    net: Net
    quantizers: Mapping[Layer, Quantizer]
    floats: Mapping[Layer, str]
    means: Mapping[Layer, np.ndarray]
    made: dict[tuple[Layer, Quantizer], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        layers = layers_of(self.net)
        self.outside = emitter_of(self.net)
        self.writer = Int8Writer(self.outside.writer)
        self.read_as_bytes = {source for layer in layers if layer not in self.floats for source in layer.inputs}
        self.fused = sums_in_convolutions(self.net, self.floats)

    def run(self) -> tuple[PlanWriter, list[KernelChoice]]:
        """The whole plan, and what runs its layers."""
        for layer in layers_of(self.net):
            if layer in self.fused.values():
                continue  # its sum is computed with it
            if layer in self.floats:
                self._stay_outside(layer)
            elif is_matrix(layer) and layer not in self.read_as_bytes:
                self.outside.values[layer] = self._real_matrix(layer)
            else:
                own = self.quantizers[layer]
                self.made[layer, own] = self._computed(layer, own)
        for output in self.net.outputs:
            self.outside.writer.output(self._real(output.layer), dims=output.dims, dtype=output.dtype)
        return self.outside.writer, self.outside.choices

    def _real(self, layer: Layer) -> int:
        """Its value in float32."""
        if layer not in self.outside.values:
            self.outside.values[layer] = self.writer.dequantize(self.made[layer, self.quantizers[layer]])
        return self.outside.values[layer]

    def _bytes(self, layer: Layer, quantizer: Quantizer | None = None) -> int:
        """Its value in int8, by its own quantizer or by another."""
        own = self.quantizers[layer]
        wanted = quantizer or own
        if (layer, wanted) not in self.made:
            if (layer, own) in self.made:
                moved = table(activation("none"), own, wanted)
                self.made[layer, wanted] = self.writer.lookup(self.made[layer, own], moved, wanted)
            else:
                self.made[layer, wanted] = self.writer.quantize(self.outside.values[layer], wanted)
        return self.made[layer, wanted]

    def _stay_outside(self, layer: Layer) -> None:
        for source in layer.inputs:
            self._real(source)
        choices, why = self.outside.choices, self.floats[layer]
        before = len(choices)
        self.outside.emit(layer)
        if len(choices) == before:
            self._note(layer, "fp32", why)
        else:
            choices[-1] = replace(choices[-1], kernel=f"fp32 {choices[-1].kernel}", why=why)

    def _computed(self, layer: Layer, to: Quantizer) -> int:
        """Append a layer that makes int8."""
        first, function = layer.inputs[0], function_of(layer)
        if function is not None:
            return self.writer.lookup(self._bytes(first), table(function, self.quantizers[first], to), to)
        if layer.kind in ("conv", "linear"):
            return self._matrix(layer, to) if is_matrix(layer) else self._depthwise(layer, to)
        if layer.kind == "affine":
            return self._affine(layer, to)
        if layer in self.fused:
            return self._matrix(self.fused[layer], to, sum_with=layer)
        if layer.kind in ("add", "subtract", "multiply"):
            return self._pairwise(layer, to)
        if layer.kind in ("reduce", "adaptive_pool"):
            if keeps_scale(layer):
                return self.writer.moved(layer, [self._bytes(first, to)])
            return self.writer.moved(layer, [self._bytes(first)], to)
        if layer.kind == "concat":
            return self.writer.moved(layer, [self._bytes(each, to) for each in layer.inputs])
        if layer.kind in MOVING or layer.kind == "resize":
            others = [self._bytes(each) for each in layer.inputs[1:]]
            if keeps_scale(layer):
                return self.writer.moved(layer, [self._bytes(first, to), *others])
            return self.writer.moved(layer, [self._bytes(first), *others], to)
        if layer.kind == "flatten":
            return self.writer.flatten(self._bytes(first, to))
        if layer.kind == "global_pool":
            return self.writer.global_pool(self._bytes(first), to)
        source = self._bytes(first, to if layer.words["type"] == "max" else None)
        return self.writer.pool(source, layer.window, layer.words, to)

    def _pairwise(self, layer: Layer, to: Quantizer) -> int:
        a, b = layer.inputs
        plain = layer.kind == "multiply" and "repeats" not in layer.words
        swap = plain and is_single_pixel(a) and not is_single_pixel(b)
        values = [self._bytes(each) for each in ((b, a) if swap else (a, b))]
        return self.writer.pairwise(f"int8.{layer.kind}", values, to, act=layer.act, words=layer.words)

    def _matrix(self, layer: Layer, to: Quantizer | None, *, sum_with: Layer | None = None) -> int:
        """A convolution or linear layer; with `sum_with`, the sum that it is a side of."""
        whole = ungrouped(layer.weight, layer.groups) if layer.groups > 1 else layer.weight
        weight = self._quantized(layer, whole, None if step_of(layer) else self.means.get(layer.inputs[0]))
        linear, zeros = layer.kind == "linear", sparsity(layer.weight)
        block, kernel, why = choose_block(reordered(weight.values, GROUP), zeros, linear=linear)
        if layer.groups > 1:
            why = f"{layer.groups} groups as one block-diagonal matrix: {why}"
        added, act = None, layer.act
        if sum_with is not None:
            (other,) = (side for side in sum_with.inputs if side is not layer)
            added, act, why = self._bytes(other), sum_with.act, f"{why}; with the sum behind it"
        self._note(layer, kernel, why, to)
        return self.writer.convolution(
            self._bytes(layer.inputs[0]),
            weight,
            layer.window,
            to,
            block=block,
            act=act,
            linear=linear,
            added=added,
            step=step_of(layer),
        )

    def _real_matrix(self, layer: Layer) -> int:
        """In float32, where a hard-swish is a line of its own."""
        if is_clamp(layer.act):
            return self._matrix(layer, None)
        sums = self._matrix(replace(layer, act="none"), None)
        return self.outside.writer.add("activation", [sums], act=layer.act)

    def _depthwise(self, layer: Layer, to: Quantizer) -> int:
        weight = self._quantized(layer, layer.weight, self.means.get(layer.inputs[0]))
        self._note(layer, "int8 depthwise", "one filter per channel", to)
        return self.writer.depthwise(self._bytes(layer.inputs[0]), weight, layer.window, to, act=layer.act)

    def _affine(self, layer: Layer, to: Quantizer) -> int:
        """A scale and a shift for each channel, as a 3x3 filter per channel that is zero around its middle."""
        filters = np.zeros((len(layer.weight), 1, 3, 3))
        filters[:, 0, 1, 1] = layer.weight
        self._note(layer, "int8 depthwise", "a scale and a shift per channel", to)
        return self.writer.depthwise(
            self._bytes(layer.inputs[0]), self._quantized(layer, filters, None), _AROUND, to, act=layer.act
        )

    def _quantized(self, layer: Layer, weight: np.ndarray, means: np.ndarray | None) -> Int8Weight:
        return quantize_weight(weight, layer.bias, self.quantizers[layer.inputs[0]].scale, means)

    def _note(self, layer: Layer, kernel: str, why: str, to: Quantizer | None = None) -> None:
        shape, zeros = (layer.weight.shape, sparsity(layer.weight)) if layer.weight.size else ((), 0.0)
        low, high = to.range if to else (0.0, 0.0)
        self.outside.choices.append(
            KernelChoice(
                layer.name or layer.kind,
                tuple(shape),
                zeros,
                kernel,
                why,
                f"[{low:.3g}, {high:.3g}]" if to else "float32",
            )
        )
