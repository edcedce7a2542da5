# SPDX-License-Identifier: Apache-2.0
"""The range of every layer's numbers: from ranges learned in training, from data, or from the layers around it."""

from __future__ import annotations

import json
import logging
from typing import Any, Mapping, Sequence

import numpy as np

from ...formats.atomic import check_readable
from ...formats.pair import SHA256_OF_PARAMS, sha256
from ..net import Layer, Net, layers_of
from ..precision.layers import is_matrix
from .activations import activation, useful_inputs
from .assign_scales import keeps_scale
from .calibrators import CALIBRATORS, Range
from .observe import Observed

_log = logging.getLogger(__name__)


def calibrated(seen: Mapping[Layer, Observed], calibration: str) -> dict[Layer, Range]:
    """From what layers were seen to return, by a calibrator's name."""
    return {layer: CALIBRATORS[calibration](one.histogram) for layer, one in seen.items()}


def read_ranges(source: Any, params: str | None = None) -> dict[str, dict[str, Range]]:
    """Learned ranges: weight -> {"input": (low, high), "output": (low, high)}, either may be missing; {} of a layer
    that stays in float32.

    Args:
        source: the ranges, or the file that holds them and says with which weights they were learned.
        params: `.pdiparams` file of the model that they are for; None: whose they are is not looked at.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds something else, or ranges that were learned with other weights.
    """
    given, what = source, "`ranges`"
    if not isinstance(source, Mapping):
        what = str(source)
        check_readable(what)
        with open(source, encoding="utf-8") as file:
            try:
                given = json.load(file)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{what} must be JSON: {error}.") from error
    if isinstance(given, Mapping):
        given = dict(given)
        stamped = given.pop(SHA256_OF_PARAMS, None)
        if params is not None and (stamped is not None or not isinstance(source, Mapping)):
            _check_origin(what, stamped, params)
    try:
        found = {name: {side: _checked(ends) for side, ends in sides.items()} for name, sides in given.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f'{what} must be {{weight: {{"input": [low, high], "output": [low, high]}}}}, with finite '
            f"low <= high: {error}"
        ) from error
    wrong = sorted({side for sides in found.values() for side in sides} - {"input", "output"})
    if wrong:
        raise ValueError(f'{what} must give ranges of "input" and "output", got {", ".join(wrong)}.')
    return found


def _check_origin(what: str, stamped: Any, params: str) -> None:
    """Raise ValueError if the ranges say that they were learned with other weights; warn if they do not say."""
    if stamped is None:
        _log.warning(
            "%s does not say with which weights its ranges were learned: if these are not the ones in %s, the model in "
            "int8 may answer anything; export the trained model again, whose ranges say it.",
            what,
            params,
        )
    elif stamped != sha256(params):
        raise ValueError(
            f"{what} must hold ranges that were learned with the weights in {params}, and says that they are of "
            f"others; give the model that was exported with it, or the ranges beside the model, or data to calibrate "
            f'on. If they are meant for these weights (pruned since, say), take the entry "{SHA256_OF_PARAMS}" out.'
        )


def _checked(ends: Sequence[float]) -> Range:
    low, high = (float(end) for end in ends)
    if not -np.inf < low <= high < np.inf:
        raise ValueError(f"[{low}, {high}]")
    return low, high


def learned(net: Net, ranges: Mapping[str, Mapping[str, Range]]) -> dict[Layer, Range]:
    """Layer -> its range, for the layers that learned ranges speak of.

    "output" is that of the layer's activation, if it has one. What several layers read gets the widest of their ranges;
    "input" of a reader comes before "output" of the maker.

    Raises:
        ValueError: A name is no layer's.
    """
    layers = layers_of(net)
    unknown = sorted(ranges.keys() - {layer.name for layer in layers})
    if unknown:
        raise ValueError(
            f"`ranges` must name weights of the model, got {', '.join(unknown)}; it has "
            f"{', '.join(layer.name for layer in layers if layer.name)}."
        )
    found: dict[Layer, Range] = {}
    for layer in layers:
        given = ranges.get(layer.name, {}).get("input") if layer.name else None
        if given:
            low, high = found.get(layer.inputs[0], given)
            found[layer.inputs[0]] = min(low, given[0]), max(high, given[1])
    for layer in layers:
        if layer.name and "output" in ranges.get(layer.name, {}):
            found.setdefault(_activated(layer, layers), ranges[layer.name]["output"])
    return found


def _activated(layer: Layer, layers: Sequence[Layer]) -> Layer:
    """The activation behind a layer that nobody else reads, or the layer."""
    readers = [other for other in layers if layer in other.inputs]
    return readers[0] if len(readers) == 1 and readers[0].kind == "activation" else layer


def complete(net: Net, found: dict[Layer, Range], floats: Mapping[Layer, str]) -> dict[Layer, Range]:
    """Ranges for the layers that have none yet, where the layers around them tell; used without data.

    Raises:
        ValueError: A layer in int8 has no range, and none can be told.
    """
    ranges, layers = dict(found), layers_of(net)
    for layer in reversed(layers):  # what an activation tells apart, up to the largest number that it returns
        if layer.kind == "activation" and layer in ranges and layer not in floats:
            low, high = useful_inputs(layer.act)
            if np.isfinite(low):
                ranges.setdefault(layer.inputs[0], (low, min(high, max(3.0, ranges[layer][1] + 0.5))))
    for layer in layers:  # a mean, a maximum or a flattening stays within what it reads
        sources = layer.inputs[:1] if layer.kind == "resize" else layer.inputs
        inputs = [ranges[source] for source in sources if source in ranges]
        if layer in ranges or len(inputs) < len(sources):
            continue
        is_mean = layer.words.get("type") == "mean" or layer.words.get("mode") == "linear"
        if keeps_scale(layer) or is_mean or layer.kind in ("pool", "global_pool", "adaptive_pool"):
            ranges[layer] = min(low for low, _ in inputs), max(high for _, high in inputs)
        elif layer.kind == "activation":
            ends = activation(layer.act)(np.linspace(inputs[0][0], inputs[0][1], 1001))
            ranges[layer] = float(ends.min()), float(ends.max())
    return _all_known(net, ranges, floats)


def _all_known(net: Net, ranges: dict[Layer, Range], floats: Mapping[Layer, str]) -> dict[Layer, Range]:
    layers = layers_of(net)
    needed = {source for layer in layers if layer not in floats for source in layer.inputs}
    needed |= {layer for layer in layers if layer not in floats and not is_matrix(layer)}
    unknown = [layer for layer in [*net.inputs, *layers] if layer in needed and layer not in ranges]
    if unknown:
        names = ", ".join(_named(layer) for layer in unknown[:5])
        raise ValueError(
            f"`data` must be given, too, inputs to calibrate on: the learned ranges do not say what {names} "
            f"return{'s' * (len(unknown) == 1)}."
        )
    return {**dict.fromkeys([*net.inputs, *layers], (0.0, 0.0)), **ranges}


def _named(layer: Layer) -> str:
    return layer.name or f"the {layer.kind} behind {next((each.name for each in layer.inputs if each.name), 'others')}"
