# SPDX-License-Identifier: Apache-2.0
"""Whether data looks like what a net was trained on, judged by its first batch norm."""

from __future__ import annotations

import logging
from typing import Iterator, Mapping, Sequence

import numpy as np

from ..graph import PirGraph
from ..graph.values import channel_axis, kind_of
from .segments import Pieces

_log = logging.getLogger(__name__)

FAR = 1.0  # running standard deviations by which the means of channels may differ, on average
SPREAD = 4.0  # how many times larger or smaller variances may be, in the middle of all channels
_SAMPLES = 64
_PIXELS = 30.0  # normalised inputs are smaller
_HUGE = 1000.0  # and hardly any are larger than this


def warn_if_unfamiliar(graph: PirGraph, batches: Sequence[Mapping[str, np.ndarray]]) -> None:
    """Log a warning where the data cannot be what the net was trained on.

    The first batch norm sees other means or variances than those it remembers: inputs were scaled, ordered or
    normalised in another way than in training. A net without batch norms is warned of raw pixels, whole numbers up to
    255, and of huge numbers, only. So is any net of samples that are all the same.

    Args:
        graph: of an inference Program.
        batches: feeds; some are enough.
    """
    for name, arrays in _floats(batches):
        if all(a.shape[1:] == arrays[0].shape[1:] and (a == arrays[0][:1]).all() for a in arrays):
            _log.warning("all samples of %s are the same; nothing can be learned of inputs from them", name)
            return
    pieces = Pieces(graph.program, graph.place)
    norm = next((op for op in graph.program.global_block().ops if kind_of(op) == "batch_norm"), None)
    if norm is None:
        for name, arrays in _floats(batches):
            largest = max(float(np.abs(array).max()) for array in arrays)
            if largest > _PIXELS and all(array.min() >= 0 and (array == np.rint(array)).all() for array in arrays):
                _log.warning(
                    "%s holds whole numbers up to %g, as raw pixels or labels are; prepare it as in training",
                    name,
                    largest,
                )
            elif largest > _HUGE:
                _log.warning("%s holds numbers up to %.3g; prepare it as in training", name, largest)
        return
    piece, value = pieces.between(0, pieces.index(norm)), norm.operand_source(0)
    axis = channel_axis(norm, value)
    mean, variance = (graph.array(norm.operand_source(i).name).astype(np.float64) for i in (1, 2))
    count, rows, total, squares = 0, 0, np.zeros_like(mean), np.zeros_like(mean)
    for batch in batches:
        x = np.moveaxis(piece.run(pieces.start(batch), graph.scope)[value.id], axis, 0)
        apart = x.reshape(len(mean), -1).astype(np.float64) - mean[:, None]  # of sums around it little is rounded away
        total, squares, rows = total + apart.sum(1), squares + np.square(apart).sum(1), rows + apart.shape[1]
        count += len(next(iter(batch.values())))
        if count >= _SAMPLES:
            break
    shift = total / rows
    deviation = np.sqrt(variance + norm.attrs()["epsilon"])
    far = float(np.mean(np.abs(shift) / deviation))
    ratio = float(np.median((squares / rows - np.square(shift) + norm.attrs()["epsilon"]) / deviation**2))
    if far > FAR or not 1.0 / SPREAD <= ratio <= SPREAD:
        _log.warning(
            "the data does not look like what the net was trained on: at the first batch norm, %s, means differ by "
            "%.1f standard deviations and variances are %.2g times the remembered ones; prepare it (scale, order of "
            "channels, mean and deviation) as in training",
            norm.operand_source(1).name,
            far,
            ratio,
        )


def _floats(batches: Sequence[Mapping[str, np.ndarray]]) -> Iterator[tuple[str, list[np.ndarray]]]:
    """The arrays of each input that is no integer."""
    for name, first in batches[0].items():
        if first.dtype.kind == "f" and first.ndim:
            yield name, [batch[name] for batch in batches]
