# SPDX-License-Identifier: Apache-2.0
"""A weight as people look at it: a grid of kept and zero, coarser where it is large, and the bins of its values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..arguments import array
from ..graph.base import Param

CORNER = 32  # weights down and across of which every single one is shown
CELLS = 256  # cells down and across that a picture of a whole weight has at most
BINS = 60
ZERO, KEPT = (0xFF, 0xE3, 0xC4), (0x12, 0x3E, 0x78)  # colours of a zero and of a kept weight: red, green, blue


@dataclass(frozen=True)
class Grid:
    """A weight laid out flat: [output channels, kernel x input channels].

    The input channels of one kernel position stand side by side, so that n:m groups and blocks can be seen. A weight of
    many outputs and few inputs lies on its side.

    Attributes:
        values: [down, across].
        down, across: What is counted along each side, to be read by people.
    """

    values: np.ndarray
    down: str
    across: str

    def corner(self, size: int = CORNER) -> Grid:
        """Its first rows and columns."""
        return Grid(self.values[:size, :size], self.down, self.across)


@dataclass(frozen=True)
class Density:
    """The fraction of weights kept (not zero) in each tile of a grid.

    Attributes:
        kept: [cells down, cells across], float64 in [0, 1].
        tile: Weights per cell, (down, across); those at the lower and right edge may have fewer.
    """

    kept: np.ndarray
    tile: tuple[int, int]

    @property
    def is_exact(self) -> bool:
        """Whether every cell is one weight."""
        return self.tile == (1, 1)


@dataclass(frozen=True)
class Histogram:
    """How many weights lie in each bin.

    Attributes:
        edges: [bins + 1]; the range ends where all but 0.1 % of the values lie, and the outermost bins also count what
            is beyond.
        kept: [bins], weights that are not zero, at the values they have.
        pruned: [bins], weights that are zero, at the values they had; None if those are not known.
        zeros: Weights that are zero.
        not_finite: Weights that are NaN or infinite; in no bin.
    """

    edges: np.ndarray
    kept: np.ndarray
    pruned: np.ndarray | None
    zeros: int
    not_finite: int


def grid(weight: np.ndarray, param: Param | None = None) -> Grid:
    """Lay a weight out flat.

    Args:
        weight: array as it is stored.
        param: Says which axes are output and input. Default: a matrix is a linear layer's [in, out], and anything else
            [out, in, ...] as convolutions are.
    """
    weight = np.asarray(weight)
    output, inputs = (param.output_axis, param.input_axis) if param else ((1, 0) if weight.ndim == 2 else (0, 1))
    output = output if output is not None and output < weight.ndim else None
    inputs = inputs if inputs is not None and inputs < weight.ndim else None
    kernel = [axis for axis in range(weight.ndim) if axis not in (output, inputs)]
    order = [axis for axis in (output, *kernel, inputs) if axis is not None]
    outputs = weight.shape[output] if output is not None else 1
    flat = weight.transpose(order).reshape(outputs, -1 if weight.size else 0)
    down, across = _counted(outputs, "output"), _columns(weight.shape, kernel, inputs)
    if flat.shape[0] > 4 * flat.shape[1]:
        return Grid(flat.T, across, down)
    return Grid(flat, down, across)


def density(laid_out: Grid, cells: int = CELLS) -> Density:
    """Count what is kept, tile by tile, so that no side has more than `cells` of them."""
    kept = laid_out.values != 0
    tile = (max(1, -(-kept.shape[0] // cells)), max(1, -(-kept.shape[1] // cells)))
    starts = [np.arange(0, extent, step) for extent, step in zip(kept.shape, tile)]
    if not kept.size:
        return Density(np.zeros(kept.shape), tile)
    sums = np.add.reduceat(np.add.reduceat(kept, starts[1], axis=1, dtype=np.int64), starts[0], axis=0)
    rows, columns = (np.diff(start, append=extent) for start, extent in zip(starts, kept.shape))
    return Density(sums / np.outer(rows, columns), tile)


def histogram(weight: np.ndarray, before: np.ndarray | None = None, bins: int = BINS) -> Histogram:
    """Count kept weights by the value they have, and pruned ones by the value they had `before`.

    Args:
        weight: Any shape.
        before: values before pruning, of the same shape.
        bins: number of bins, symmetrical around 0.

    Raises:
        ValueError: `before` has another shape.
    """
    weight, before = array("weight", weight), None if before is None else array("before", before)
    if before is not None and np.shape(before) != np.shape(weight):
        raise ValueError(
            f"`before` must have the weight's shape {list(np.shape(weight))}, got {list(np.shape(before))}."
        )
    weight = np.asarray(weight, np.float64).reshape(-1)
    zero = weight == 0
    kept = weight[~zero]
    pruned = None if before is None else np.asarray(before, np.float64).reshape(-1)[zero]
    shown = kept if pruned is None else np.concatenate([kept, pruned])
    edges = _edges(np.abs(shown[np.isfinite(shown)]), bins)
    return Histogram(
        edges,
        _binned(kept, edges),
        None if pruned is None else _binned(pruned, edges),
        int(zero.sum()),
        int((~np.isfinite(weight)).sum()),
    )


def _edges(sizes: np.ndarray, bins: int) -> np.ndarray:
    reach = float(np.quantile(sizes, 0.999)) if sizes.size else 0.0
    return np.linspace(-1.0, 1.0, bins + 1) * (reach or 1.0)


def _binned(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.histogram(np.clip(values[np.isfinite(values)], edges[0], edges[-1]), edges)[0]


def _columns(shape: tuple[int, ...], kernel: list[int], inputs: int | None) -> str:
    parts = [] if inputs is None else [_counted(shape[inputs], "input")]
    if any(shape[axis] != 1 for axis in kernel):
        parts.insert(0, "×".join(str(shape[axis]) for axis in kernel) + " kernel")
    return " × ".join(parts) or "1 input"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
