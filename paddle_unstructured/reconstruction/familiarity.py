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
    for name, array in _floats(batches):
        if (array == array[:1]).all():
            _log.warning("all samples of %s are the same; nothing can be learned of inputs from them", name)
            return
    pieces = Pieces(graph.program, graph.place)
    norm = next((op for op in graph.program.global_block().ops if kind_of(op) == "batch_norm"), None)
    if norm is None:
        for name, array in _floats(batches):
            if array.min() >= 0 and array.max() > _PIXELS and (array == np.rint(array)).all():
                _log.warning(
                    "%s holds whole numbers up to %g, as raw pixels or labels are; prepare it as in training",
                    name,
                    array.max(),
                )
            elif np.abs(array).max() > _HUGE:
                _log.warning("%s holds numbers up to %.3g; prepare it as in training", name, np.abs(array).max())
        return
    piece, value = pieces.between(0, pieces.index(norm)), norm.operand_source(0)
    axis = channel_axis(norm, value)
    seen: list[np.ndarray] = []
    for batch in batches:
        x = piece.run(pieces.start(batch), graph.scope)[value.id]
        seen.append(np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1).astype(np.float64))
        if sum(len(next(iter(b.values()))) for b in batches[: len(seen)]) >= _SAMPLES:
            break
    mean, variance = (graph.array(norm.operand_source(i).name).astype(np.float64) for i in (1, 2))
    values = np.concatenate(seen, 1)
    deviation = np.sqrt(variance + norm.attrs()["epsilon"])
    apart = float(np.mean(np.abs(values.mean(1) - mean) / deviation))
    ratio = float(np.median((values.var(1) + norm.attrs()["epsilon"]) / deviation**2))
    if apart > FAR or not 1.0 / SPREAD <= ratio <= SPREAD:
        _log.warning(
            "the data does not look like what the net was trained on: at the first batch norm, %s, means differ by "
            "%.1f standard deviations and variances are %.2g times the remembered ones; prepare it (scale, order of "
            "channels, mean and deviation) as in training",
            norm.operand_source(1).name,
            apart,
            ratio,
        )


def _floats(batches: Sequence[Mapping[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
    """All samples of each input that is no integer."""
    for name, first in batches[0].items():
        if first.dtype.kind == "f" and first.ndim:
            yield name, np.concatenate([batch[name] for batch in batches])
