# SPDX-License-Identifier: Apache-2.0
"""Samples of a batch: what all samples share stays whole."""

from __future__ import annotations

from typing import Sequence

import numpy as np

from ..net import Net, input_of

Batch = Sequence[np.ndarray]  # an array for each input of the net


def count_samples(net: Net, batch: Batch) -> int:
    """How many samples the arrays hold."""
    return max(int(array.shape[axis]) for array, axis in zip(batch, _sample_axes(net)) if axis >= 0)


def samples_of(net: Net, batch: Batch, first: int, last: int) -> list[np.ndarray]:
    """Those in [first, last); what all samples share stays whole."""
    return pick_samples(net, batch, range(first, min(last, count_samples(net, batch))))


def pick_samples(net: Net, batch: Batch, places: Sequence[int]) -> list[np.ndarray]:
    """Those at some places; what all samples share stays whole."""
    axes = _sample_axes(net)
    return [array.take(places, axis) if axis >= 0 else array for array, axis in zip(batch, axes)]


def _sample_axes(net: Net) -> list[int]:
    """Of each input; -1 if all samples share it."""
    return ["".join(input_of(layer).axes).find("n") for layer in net.inputs]
