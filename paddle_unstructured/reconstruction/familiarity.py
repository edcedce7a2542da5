# SPDX-License-Identifier: Apache-2.0
"""Whether data looks like what a net was trained on, judged by its first batch norm; and made to look like it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from ..graph import PirGraph
from ..graph.values import channel_axis, kind_of
from ..saved_model import Model
from .segments import Piece, Pieces

_log = logging.getLogger(__name__)

FAR = 1.0  # running standard deviations by which the means of channels may differ, on average
SPREAD = 4.0  # how many times larger or smaller variances may be, in the middle of all channels
_SAMPLES, _FEW = 64, 8
_ROUNDS, _LEAST = 5, 0.01  # of scale and offset in turn; of a variance, what images make
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
    norm = _FirstNorm.of(graph)
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
    known = norm.known
    if not known.any():
        return
    seen, variance = norm.moments(batches)
    far = float(np.mean(np.abs(seen - norm.mean)[known] / np.sqrt(norm.variance[known])))
    ratio = float(np.median((variance + norm.epsilon)[known] / norm.variance[known]))
    if far > FAR or not 1.0 / SPREAD <= ratio <= SPREAD:
        _log.warning(
            "the data does not look like what the net was trained on: at the first batch norm, %s, means differ by "
            "%.1f standard deviations and variances are %.2g times the remembered ones; prepare it (scale, order of "
            "channels, mean and deviation) as in training",
            norm.name,
            far,
            ratio,
        )


def as_remembered(model: Model, name: str, images: np.ndarray, axis: int) -> np.ndarray:
    """Give images the mean of each channel and the deviation that inputs of this model had in training.

    x' = s x + m. What the first batch norm sees is linear in it, so that s follows from the variances it remembers, in
    the middle of all its channels, and m from the means, by least squares. Without a norm, and where something that is
    not linear comes before it, images stay as they are.

    Args:
        model: an inference model.
        name: of the input.
        images: floats; some are looked at.
        axis: of their channels.
    """
    norm = _FirstNorm.of(model.graph)
    if norm is None or images.dtype.kind != "f":
        return images
    few, count = images[:_SAMPLES], images.shape[axis]
    nothing = norm.sees({name: np.zeros_like(few[:1])})
    once, back = (norm.sees({name: part * few[:1]}) - nothing for part in (1, -2))
    if not np.allclose(back, -2.0 * once, rtol=1e-3, atol=1e-3 * max(float(np.abs(once).max()), 1e-30)):
        return images
    eye = np.eye(count, dtype=few.dtype).reshape([count if i in (0, axis) else 1 for i in range(few.ndim)])
    ones = [one * np.ones_like(few[:1]) for one in eye]  # of one channel each
    gains = np.stack([norm.sees({name: one}) - nothing for one in ones], 2)  # [outputs, positions, channels]
    mean, variance = norm.moments([{name: few[i : i + 1]} for i in range(len(few))])  # one may be large
    known = norm.known
    varies = known & (variance > 1e-6 * variance.max())
    if not varies.any():
        return images
    deviation = np.sqrt(norm.variance[known])
    scale, offset = 1.0, np.zeros(count)
    for _ in range(_ROUNDS):
        of_offset = (gains @ offset).var(1)  # at a border of zeros a constant varies
        left = np.maximum(norm.variance - of_offset, _LEAST * norm.variance)
        scale = float(np.median(left[varies] / variance[varies])) ** 0.5
        missing = (norm.mean - nothing.mean(1) - scale * (mean - nothing.mean(1)))[known]
        offset = np.linalg.lstsq(gains.mean(1)[known] / deviation[:, None], missing / deviation, rcond=0.05)[0]
    shaped = offset.reshape([-1 if i == axis else 1 for i in range(images.ndim)])
    found = np.empty(images.shape, images.dtype)
    for i in range(0, len(images), _FEW):  # in float64, of which there is no room for all
        found[i : i + _FEW] = scale * images[i : i + _FEW] + shaped
    return found


@dataclass(frozen=True, eq=False)
class _FirstNorm:
    """The first batch norm of a net.

    Attributes:
        graph: the net.
        op: it.
        name: of its running mean.
        mean, variance: what it remembers of its input, float64 [channels]; epsilon is added.
        epsilon: its own.
    """

    graph: PirGraph
    op: Any
    name: str
    mean: np.ndarray
    variance: np.ndarray
    epsilon: float

    @classmethod
    def of(cls, graph: PirGraph) -> _FirstNorm | None:
        """None if the net has none."""
        op = next((op for op in graph.program.global_block().ops if kind_of(op) == "batch_norm"), None)
        if op is None:
            return None
        names, epsilon = [op.operand_source(i).name for i in (1, 2)], float(op.attrs()["epsilon"])
        mean, variance = (graph.array(name).astype(np.float64) for name in names)
        return cls(graph, op, names[0], mean, variance + epsilon, epsilon)

    @property
    def known(self) -> np.ndarray:
        """Which channels it remembers something of: bool [channels]."""
        return np.asarray(np.isfinite(self.mean) & np.isfinite(self.variance) & (self.variance > 0.0))

    def sees(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """What a batch makes of its input: float64 [channels, rows]."""
        value = self.op.operand_source(0)
        found = self._piece.run(self._pieces.start(batch), self.graph.scope)[value.id]
        return np.moveaxis(found, channel_axis(self.op, value), 0).reshape(len(self.mean), -1).astype(np.float64)

    def moments(self, batches: Sequence[Mapping[str, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of its input, on some samples at least: each float64 [channels]."""
        count, rows, total, squares = 0, 0, np.zeros_like(self.mean), np.zeros_like(self.mean)
        for batch in batches:
            apart = self.sees(batch) - self.mean[:, None]  # of sums around it little is rounded away
            total, squares, rows = total + apart.sum(1), squares + np.square(apart).sum(1), rows + apart.shape[1]
            count += len(next(iter(batch.values())))
            if count >= _SAMPLES:
                break
        shift = total / rows
        return self.mean + shift, squares / rows - np.square(shift)

    @cached_property
    def _pieces(self) -> Pieces:
        return Pieces(self.graph.program, self.graph.place)

    @cached_property
    def _piece(self) -> Piece:
        return self._pieces.between(0, self._pieces.index(self.op))


def _floats(batches: Sequence[Mapping[str, np.ndarray]]) -> Iterator[tuple[str, list[np.ndarray]]]:
    """The arrays of each input that is no integer."""
    for name, first in batches[0].items():
        if first.dtype.kind == "f" and first.ndim:
            yield name, [batch[name] for batch in batches]
