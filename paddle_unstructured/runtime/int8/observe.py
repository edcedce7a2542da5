# SPDX-License-Identifier: Apache-2.0
"""What every layer of a net returns on calibration data: computed by our own float kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, Sequence

import numpy as np

from ..engine import Engine
from ..net import Layer, Net, Output, layers_of
from ..precision.batches import Batch, count_samples, samples_of
from ..write_plan import emit
from .calibrators import BINS, Histogram

_MOST_FLOATS = 1 << 24  # of all layers' outputs at once


@dataclass
class Observed:
    """What one layer returned.

    Attributes:
        low, high: The smallest and the largest number.
        total: float64 [channels]: the sum of each channel.
        count: Numbers per channel.
        zeros: Numbers that are exactly 0.
        is_finite: whether all are numbers; the smallest and the largest are taken of those that are.
        counts: [BINS] of the histogram over [low, high]; zeros until it is taken.
    """

    low: float
    high: float
    total: np.ndarray
    count: int
    zeros: int
    counts: np.ndarray
    is_finite: bool = True

    @property
    def mean(self) -> np.ndarray:
        """Of each channel."""
        return self.total / self.count

    @property
    def histogram(self) -> Histogram:
        return Histogram(self.low, self.high, self.counts, self.zeros)


def observe(net: Net, batches: Sequence[Batch], *, histograms: bool) -> dict[Layer, Observed]:
    """Run a net over some batches.

    Args:
        net: With its float weights.
        batches: arrays for the net's inputs.
        histograms: Whether to count, too; takes a second pass.

    Returns:
        Each layer, the input included -> what it returned.

    Raises:
        ValueError: A batch does not fit, or an input or a layer with weights returns NaN or infinity.
    """
    layers = [*net.inputs, *layers_of(net)]
    seen: dict[Layer, Observed] = {}
    for layer, values in _outputs(net, layers, batches):
        _take_sums(seen, layer, values)
    if histograms:
        for layer, values in _outputs(net, layers, batches):
            _take_histogram(seen[layer], values)
    return seen


def _outputs(net: Net, layers: Sequence[Layer], batches: Sequence[Batch]) -> Iterator[tuple[Layer, np.ndarray]]:
    """Each layer's outputs for a few samples at a time: a whole batch of them all would not fit into memory."""
    writer, _ = emit(Net(net.inputs, [Output(layer) for layer in layers]))
    engine = Engine(writer.text, writer.arrays)
    several = 1
    for batch in batches:
        at, samples = 0, count_samples(net, batch)
        while at < samples:
            outputs = engine.run(*samples_of(net, batch, at, at + several))
            yield from zip(layers, outputs)
            at += several
            several = max(1, _MOST_FLOATS * len(outputs[0]) // sum(output.size for output in outputs))


def _take_sums(seen: dict[Layer, Observed], layer: Layer, values: np.ndarray) -> None:
    low, high = float(values.min()), float(values.max())
    is_finite = bool(np.isfinite(low) and np.isfinite(high))
    if not is_finite and (layer.kind == "input" or layer.name):
        what = "the input" if layer.kind == "input" else f"{layer.kind} {layer.name}".strip()
        raise ValueError(
            f"`data` must give finite numbers, but {what} has NaN or infinity; look at the data and at the weights."
        )
    if not is_finite:  # a mask of infinities, say
        values = np.where(np.isfinite(values), values, np.float32(0))
        low, high = float(values.min()), float(values.max())
    total = values.sum((0, *range(2, values.ndim)), dtype=np.float64)
    if layer not in seen:
        seen[layer] = Observed(low, high, np.zeros_like(total), 0, 0, np.zeros(BINS, np.int64))
    one = seen[layer]
    one.low, one.high, one.total = min(one.low, low), max(one.high, high), one.total + total
    one.is_finite &= is_finite
    one.count += values.size // len(total)
    one.zeros += values.size - int(np.count_nonzero(values))


def _take_histogram(one: Observed, values: np.ndarray) -> None:
    if one.low < one.high:
        wide = values[np.isfinite(values)].astype(
            np.float64
        )  # float32 has no 4096 numbers between two that are nearly equal
        one.counts += np.histogram(wide, bins=BINS, range=(one.low, one.high))[0]
