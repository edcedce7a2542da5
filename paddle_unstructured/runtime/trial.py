# SPDX-License-Identifier: Apache-2.0
"""What is converted is tried beside Paddle before it is written."""

from __future__ import annotations

import logging
from typing import Iterator, Mapping, Sequence

import numpy as np

from ..export.inputs import random_inputs
from ..inference import reason
from ..reconstruction.familiarity import warn_if_unfamiliar
from ..saved_model import Model

_log = logging.getLogger(__name__)

_CLOSE = 2e-3  # of the largest number: what badly conditioned norms make of sums in another order, at most
_TURNED = 0.01  # part of whole numbers that may differ
_SMALLEST = 1e-3  # numbers below are compared as if the largest were this
_SIZES = ((64, 16), (224, 64), (512, 128))  # pixels and tokens, where the model leaves sizes open


def trial_inputs(model: Model) -> Iterator[dict[str, np.ndarray]]:
    """Random inputs of two samples; of growing sizes where the model leaves them open, as it may need some."""
    is_open = any(extent < 0 for value in model.inputs.values() for extent in list(value.shape)[1:])
    for pixels, tokens in _SIZES if is_open else _SIZES[:1]:
        shapes = {}
        for name, value in model.inputs.items():
            shape, size = list(value.shape), pixels if len(value.shape) >= 4 else tokens
            shapes[name] = [extent if extent > 0 else 2 if i == 0 else size for i, extent in enumerate(shape)]
        yield random_inputs(model, 2, 0, shapes)


def look_familiar(model: Model, batches: Sequence[Mapping[str, np.ndarray]]) -> None:
    """Log a warning where data cannot be what the model was trained on; it costs no conversion where it cannot tell."""
    try:
        warn_if_unfamiliar(model.graph, batches)
    except Exception as error:  # of any kind that Paddle's C++ comes to Python with; whether data fit is said elsewhere
        _log.info("whether the data look like those of training is not known: %s", reason(error))


def few_samples(model: Model, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Three samples, a number that no size of a net is a multiple of, mostly."""
    return {
        name: np.resize(array, (3, *array.shape[1:])) if list(model.inputs[name].shape)[:1] == [-1] else array
        for name, array in feeds.items()
    }


def are_close(found: np.ndarray, want: np.ndarray) -> bool:
    """Whether numbers differ by no more than sums in another order do; any will do for Paddle's NaN and infinity."""
    if found.shape != want.shape:
        return False
    if want.dtype.kind in "iub":  # places of maxima, comparisons: near ties may turn
        return bool((found != want).sum() <= _TURNED * want.size)
    finite = np.isfinite(want)
    a, b = (np.asarray(each[finite], np.float64) for each in (found, want))
    return bool((np.abs(a - b) <= _CLOSE * max(_SMALLEST, float(np.abs(b).max(initial=0)))).all())
