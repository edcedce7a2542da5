# SPDX-License-Identifier: Apache-2.0
"""From a float net to a plan in int8."""

from __future__ import annotations

from dataclasses import replace
from typing import Mapping, Sequence

from ..net import Layer, Net, input_of
from ..plan import PlanWriter
from ..precision.batches import Batch, count_samples
from ..precision.samples import read_batches
from ..write_plan import KernelChoice
from .calibrators import CALIBRATORS, Range
from .equalization import equalize
from .errors import Calibrated, LayerError, are_few, errors_alone, hold_out, layer_errors
from .keep_float32 import keep_hurting, saved_time
from .lowering import lower
from .observe import Observed, observe
from .options import BEST, MOST_ERROR, Int8
from .placement import float_layers, without_range
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
    return calibrate(net, options, batches_of(net, options) if batches is None else batches).emitter().run()


def calibrate(net: Net, options: Int8, batches: Sequence[Batch]) -> Calibrated:
    """Ranges of all activations, and which layers stay in float32.

    Raises:
        FileNotFoundError: A file of ranges is not there.
        ValueError: Data or ranges do not fit the net.
    """
    net = lower(net)
    if options.equalize:
        net = equalize(net)
    ranges = {} if options.ranges is None else read_ranges(options.ranges)
    given = learned(net, ranges)
    floats = float_layers(net, set(options.skip), {name for name, sides in ranges.items() if not sides})
    if not len(batches):
        return Calibrated(net, complete(net, given, floats), floats, {})
    data, held = hold_out(net, batches)
    rules = list(CALIBRATORS) if options.calibration == BEST else [options.calibration]
    seen = observe(net, data, histograms=rules != ["minmax"])
    floats = {**floats, **without_range(net, [layer for layer, one in seen.items() if not one.is_finite])}
    means = {layer: one.mean for layer, one in seen.items()} if options.correct_bias else {}
    tried = [Calibrated(net, {**calibrated(seen, rule), **given}, floats, means, rule) for rule in rules]
    if len(tried) > 1:
        tried = sorted((each.measured(held) for each in tried), key=lambda each: each.error or 0.0)
    most = MOST_ERROR if options.most_error is None else options.most_error
    found = keep_hurting(tried[0], _costs(net, seen, data), most, held) if most < 1 else tried[0].measured(held)
    if not are_few(net, batches):
        return found
    return _of_all(found, observe(net, batches, histograms=found.calibration != "minmax"), options, given)


def _of_all(
    found: Calibrated, seen: Mapping[Layer, Observed], options: Int8, given: Mapping[Layer, Range]
) -> Calibrated:
    """The same choices with ranges and means of all samples: too few to do without those that were held out."""
    means = {layer: one.mean for layer, one in seen.items()} if options.correct_bias else {}
    return replace(found, ranges={**calibrated(seen, found.calibration), **given}, means=means)


def _costs(net: Net, seen: Mapping[Layer, Observed], data: Sequence[Batch]) -> Mapping[Layer, float]:
    return saved_time(seen, sum(count_samples(net, batch) for batch in data))


def report(whole: Calibrated, batches: Sequence[Batch]) -> list[LayerError]:
    """What int8 costs, layer by layer, with the layers in float32 that stay so."""
    _, held = hold_out(whole.net, batches)
    return layer_errors(whole, errors_alone(whole, held), held)


def batches_of(net: Net, options: Int8) -> Sequence[Batch]:
    """The calibration data; none if there are only ranges."""
    return [] if options.data is None else read_batches(options.data, [input_of(layer) for layer in net.inputs])
