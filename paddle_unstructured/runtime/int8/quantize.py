# SPDX-License-Identifier: Apache-2.0
"""From a float net to a plan in int8."""

from __future__ import annotations

from dataclasses import replace
from typing import Mapping, Sequence

from ..net import Layer, Net, input_of
from ..plan import PlanWriter
from ..write_plan import KernelChoice
from .calibration_data import read_batches
from .equalization import equalize
from .errors import Calibrated, LayerError, errors_alone, hurting, layer_errors
from .lowering import lower
from .observe import Batch, observe
from .options import Int8
from .placement import float_layers
from .ranges import calibrated, complete, learned, read_ranges


def quantize(net: Net, options: Int8, batches: Sequence[Batch] | None = None) -> tuple[PlanWriter, list[KernelChoice]]:
    """Calibrate, choose a quantizer for every activation, round the weights, and write the plan.

    Args:
        net: With its float weights.
        options: What the user asked for.
        batches: calibration data as arrays for the net's inputs; default: those of `options`.

    Raises:
        FileNotFoundError: A file of data or ranges is not there.
        ValueError: Data or ranges do not fit the net.
    """
    batches = batches_of(net, options) if batches is None else batches
    whole = calibrate(net, options, batches)
    alone = {} if options.most_error is None else errors_alone(whole, batches)
    return keep_hurting(whole, alone, options).emitter().run()


def calibrate(net: Net, options: Int8, batches: Sequence[Batch]) -> Calibrated:
    """Ranges of all activations, and which layers stay in float32.

    Raises:
        FileNotFoundError: A file of ranges is not there.
        ValueError: Data or ranges do not fit the net.
    """
    net = lower(net)
    if options.equalize:
        net = equalize(net)
    floats, given = float_layers(net, set(options.skip)), {}
    if options.ranges is not None:
        given = learned(net, read_ranges(options.ranges))
    seen = observe(net, batches, histograms=options.calibration != "minmax") if len(batches) else {}
    found = {**calibrated(seen, options.calibration), **given}
    ranges = found if seen else complete(net, found, floats)
    means = {layer: one.mean for layer, one in seen.items()} if options.correct_bias else {}
    return Calibrated(net, ranges, floats, means)


def keep_hurting(whole: Calibrated, alone: Mapping[Layer, float], options: Int8) -> Calibrated:
    """With the layers in float32 that `most_error` asks for."""
    if options.most_error is None:
        return whole
    return replace(whole, floats={**whole.floats, **hurting(alone, options.most_error)})


def report(net: Net, options: Int8, batches: Sequence[Batch]) -> list[LayerError]:
    """What int8 costs, layer by layer, with the layers in float32 that stay so."""
    whole = calibrate(net, options, batches)
    alone = errors_alone(whole, batches)
    return layer_errors(keep_hurting(whole, alone, options), alone, batches)


def batches_of(net: Net, options: Int8) -> Sequence[Batch]:
    """The calibration data; none if there are only ranges."""
    return [] if options.data is None else read_batches(options.data, [input_of(layer) for layer in net.inputs])
