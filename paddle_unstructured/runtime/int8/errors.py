# SPDX-License-Identifier: Apache-2.0
"""What int8 costs layer by layer: measured on samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Mapping, Sequence

import numpy as np

from ...reporting.table import aligned
from ..engine import Engine
from ..net import Layer, Net, Output, layers_of, ungrouped
from ..plan import PlanWriter
from ..precision.batches import Batch, count_samples, pick_samples
from ..precision.layers import is_matrix, sums_in_convolutions
from ..write_plan import emit
from .assign_scales import Ranges, assign, keeps_scale
from .quantizer import Quantizer
from .weights import quantize_weight
from .write_plan import Int8Emitter

SAMPLES = 32  # of each net that is measured


@dataclass(frozen=True)
class LayerError:
    """What int8 does to one layer; errors are ||y8 - y|| / ||y||, y in float32.

    Attributes:
        layer: name of its weight, or its kind.
        kernel: "int8", or "fp32" if it stays in float32.
        alone: error of the net's outputs if what this layer returns, and its weight, are rounded and nothing else.
        so_far: error of its own output, in the net as it is quantized.
    """

    layer: str
    kernel: str
    alone: float
    so_far: float


@dataclass(frozen=True)
class Calibrated:
    """All that a plan of bytes is made from.

    Attributes:
        net: As `lower` gives it.
        ranges: each layer -> the range of its numbers.
        floats: each layer that stays in float32 -> why.
        means: a layer -> the mean of each channel.
        calibration: rule that the ranges come from.
        error: error of the outputs on samples that were held out; None if there were none.
    """

    net: Net
    ranges: Ranges
    floats: Mapping[Layer, str]
    means: Mapping[Layer, np.ndarray]
    calibration: str = ""
    error: float | None = None

    def emitter(self, net: Net | None = None) -> Int8Emitter:
        """Of the whole net, or of one with other outputs."""
        return Int8Emitter(net or self.net, assign(self.net, self.ranges, self.floats.keys()), self.floats, self.means)

    def measured(self, batch: Batch) -> Calibrated:
        """With the error that it makes on some samples."""
        exact, rounded = emit(self.net)[0], self.emitter().run()[0]
        return replace(self, error=relative(_run(exact, batch), _run(rounded, batch)))


def are_few(net: Net, batches: Sequence[Batch]) -> bool:
    """Whether the samples of the largest batch are too few to do without those that are held out."""
    return max(count_samples(net, batch) for batch in batches) < 4 * SAMPLES


def hold_out(net: Net, batches: Sequence[Batch]) -> tuple[list[Batch], Batch]:
    """Samples to calibrate on, and others to measure on: a quarter of few, half of very few. A single one is both."""
    *others, last = sorted(batches, key=lambda batch: count_samples(net, batch))
    most = count_samples(net, last)
    apart = max(2, most // SAMPLES, min(4, most // 4))
    held = range(0, most, apart)[:SAMPLES]  # from everywhere: data are sorted at times
    if most == 1:
        return list(batches), last
    rest = sorted(set(range(most)) - set(held))
    return [*others, pick_samples(net, last, rest)], pick_samples(net, last, held)


def errors_alone(calibrated: Calibrated, batch: Batch) -> dict[Layer, float]:
    """For the inputs and every layer in int8, the error of the outputs if it alone is rounded."""
    net, floats = calibrated.net, calibrated.floats
    quantizers, exact = assign(net, calibrated.ranges, floats.keys()), _run(emit(net)[0], batch)
    rounded, found = _rounded(net, floats), {}
    for layer in [*net.inputs, *layers_of(net)]:
        own = _round_weight(layer, quantizers, calibrated.means) if layer not in floats else layer
        if own is not layer or layer in rounded:
            alone = _with(net, layer, own, quantizers[layer] if layer in rounded else None)
            found[layer] = relative(exact, _run(emit(alone)[0], batch))
    return found


def _rounded(net: Net, floats: Mapping[Layer, str]) -> set[Layer]:
    """The layers whose numbers are rounded; not those that move bytes, and sums that a convolution passes on."""
    layers, passed_on = layers_of(net), set(sums_in_convolutions(net, floats).values())
    read = {source for layer in layers if layer not in floats for source in layer.inputs}
    made = {layer for layer in layers if layer not in floats and not is_matrix(layer)}
    return {layer for layer in read | made if layer in floats or not keeps_scale(layer)} - passed_on


def _round_weight(layer: Layer, quantizers: Mapping[Layer, Quantizer], means: Mapping[Layer, np.ndarray]) -> Layer:
    """The layer with the weight that int8 has in its place, as float32."""
    if layer.kind not in ("conv", "linear"):
        return layer
    whole = ungrouped(layer.weight, layer.groups) if layer.groups > 1 and is_matrix(layer) else layer.weight
    source = layer.inputs[0]
    made = quantize_weight(whole, layer.bias, quantizers[source].scale, means.get(source))
    groups = layer.groups if whole is layer.weight else 1
    return replace(layer, weight=made.values * made.scale.reshape(-1, 1, 1, 1), bias=made.bias, groups=groups)


def _with(net: Net, layer: Layer, own: Layer, quantizer: Quantizer | None) -> Net:
    """The net with another layer in the place of one, whose numbers are rounded if there is a quantizer."""
    made = {each: each for each in net.inputs}
    for each in [*net.inputs, *layers_of(net)]:
        if each.kind != "input":
            made[each] = replace(own if each is layer else each, inputs=tuple(made[one] for one in each.inputs))
        if each is layer and quantizer is not None:
            made[each] = Layer("dequantize", (Layer("quantize", (made[each],), words=dict(quantizer.words)),))
    return Net(net.inputs, [replace(output, layer=made[output.layer]) for output in net.outputs])


def layer_errors(calibrated: Calibrated, alone: Mapping[Layer, float], batch: Batch) -> list[LayerError]:
    """Both errors of every layer, in the order in which they run; the inputs first."""
    net = calibrated.net
    layers = [*net.inputs, *layers_of(net)]
    watched = Net(net.inputs, [Output(layer) for layer in layers])
    exact, _ = emit(watched)
    rounded, _ = calibrated.emitter(watched).run()
    pairs = zip(layers, _run(exact, batch), _run(rounded, batch))
    return [
        LayerError(
            layer.name or (layer.act.split(":")[0] if layer.kind == "activation" else layer.kind),
            "fp32" if layer in calibrated.floats else "int8",
            alone.get(layer, 0.0),
            relative([y], [y8]),
        )
        for layer, y, y8 in pairs
    ]


def table(errors: Sequence[LayerError]) -> str:
    """The errors for people; nothing of none."""
    if not errors:
        return ""
    rows = [(one.layer, one.kernel, f"{one.alone:.3%}", f"{one.so_far:.3%}") for one in errors]
    total = sum(one.alone**2 for one in errors if one.kernel == "int8") ** 0.5
    footer = [("outputs", "", f"{total:.3%}", f"{errors[-1].so_far:.3%}")]
    return aligned(("layer", "runs in", "adds to the outputs", "so far"), rows, footer, numbers=(2, 3))


def relative(exact: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> float:
    """||got - exact|| / ||exact||, the largest of all outputs."""
    return max(_apart(a, b) for a, b in zip(exact, got))


def _apart(exact: np.ndarray, got: np.ndarray) -> float:
    """Of the numbers that are finite."""
    finite = np.isfinite(exact) & np.isfinite(got)
    if not finite.all():
        exact, got = exact[finite], got[finite]
    return float(np.linalg.norm(np.subtract(got, exact, dtype=np.float64)) / max(float(np.linalg.norm(exact)), 1e-30))


def _run(writer: PlanWriter, batch: Sequence[np.ndarray]) -> list[np.ndarray]:
    return Engine(writer.text, writer.arrays).run(*batch)
