# SPDX-License-Identifier: Apache-2.0
"""What int8 costs layer by layer: measured on calibration data, and which layers had better stay in float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Sequence

import numpy as np

from ...reporting.table import aligned
from ..engine import Engine
from ..net import Layer, Net, Output
from ..plan import PlanWriter
from ..write_plan import emit
from .assign_scales import Ranges, assign
from .lowering import layers_of
from .observe import Batch, samples_of
from .write_plan import Int8Emitter

SAMPLES = 16  # of each net that is measured
HURTS = "adds {:.2%} to the outputs"


@dataclass(frozen=True)
class LayerError:
    """What int8 does to one layer; errors are ||y8 - y|| / ||y||, y in float32.

    Attributes:
        layer: name of its weight, or its kind.
        kernel: "int8", or "fp32" if it stays in float32.
        alone: error of the net's outputs if this layer alone is in int8, with the rounding of what it reads.
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
    """

    net: Net
    ranges: Ranges
    floats: Mapping[Layer, str]
    means: Mapping[Layer, np.ndarray]

    def emitter(self, net: Net | None = None, floats: Mapping[Layer, str] | None = None) -> Int8Emitter:
        """Of the whole net; or of one with other outputs; or with other layers in float32."""
        floats = self.floats if floats is None else floats
        quantizers = assign(self.net, self.ranges, floats.keys())
        return Int8Emitter(net or self.net, quantizers, floats, self.means)


def errors_alone(calibrated: Calibrated, batches: Sequence[Batch]) -> dict[Layer, float]:
    """For each layer in int8, the error of the outputs if it alone is; on the first samples."""
    batch = first_samples(calibrated.net, batches)
    writer, _ = emit(calibrated.net)
    exact = _run(writer, batch)
    layers = layers_of(calibrated.net)
    found = {}
    for layer in layers:
        if layer not in calibrated.floats:
            others = {other: "" for other in layers if other is not layer}
            writer, _ = calibrated.emitter(floats=others).run()
            found[layer] = relative(exact, _run(writer, batch))
    return found


def hurting(alone: Mapping[Layer, float], most: float) -> dict[Layer, str]:
    """The layers that must stay in float32 for the error of the outputs to be `most`, as few as will do.

    Errors of single layers are taken as independent: together they are sqrt(sum_l e_l^2). So those with the largest go
    first, until the rest is within `most`.

    Args:
        alone: each layer in int8 -> its error alone.
        most: error of the outputs that is accepted, a fraction > 0.
    """
    found: dict[Layer, str] = {}
    left = sum(error**2 for error in alone.values())
    for layer, error in sorted(alone.items(), key=lambda item: -item[1]):
        if left <= most**2:
            break
        found[layer] = HURTS.format(error)
        left -= error**2
    return found


def layer_errors(calibrated: Calibrated, alone: Mapping[Layer, float], batches: Sequence[Batch]) -> list[LayerError]:
    """Both errors of every layer, in the order in which they run."""
    net, batch = calibrated.net, first_samples(calibrated.net, batches)
    layers = layers_of(net)
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
    return max(
        float(np.linalg.norm(np.subtract(b, a, dtype=np.float64)) / max(float(np.linalg.norm(a)), 1e-30))
        for a, b in zip(exact, got)
    )


def first_samples(net: Net, batches: Sequence[Batch]) -> list[np.ndarray]:
    return samples_of(net, batches[0], 0, SAMPLES)


def _run(writer: PlanWriter, batch: Sequence[np.ndarray]) -> list[np.ndarray]:
    return Engine(writer.text, writer.arrays).run(*batch)
