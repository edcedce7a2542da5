# SPDX-License-Identifier: Apache-2.0
"""Planes of another size, and whose size that is."""

from __future__ import annotations

from typing import Sequence

import numpy as np

from .net import Layer
from .reader import Reader
from .refusals import Refusal
from .views import OPEN, Atom, Axis, Extent, Size, View, axis_of, known, size_of


def resized(
    reader: Reader, source: View, words: dict[str, int | str], sizes: list[Size] | None, scale: list[float] | None
) -> View:
    """Planes of another size: by a scale, or to sizes, which may be those of another activation.

    Args:
        reader: knows the activations.
        source: planes.
        words: mode and how pixels are counted.
        sizes: height and width, if they are given.
        scale: of both, else.
    """
    if sizes is not None and any(isinstance(size, Extent) for size in sizes):
        own = [size_of(source.height), size_of(source.width)]
        times = [_ratio(size, had) for size, had in zip(sizes, own)]
        if None not in times:
            sizes, scale = None, [float(each or 1) for each in times]
    if scale is not None:
        words["scale"] = f"{scale[0]!r},{scale[1]!r}"
        axes = [_scaled(reader, axis, each) for axis, each in zip((source.height, source.width), scale)]
        return _planes(source, Layer("resize", (source.layer,), words=words), *axes)
    assert sizes is not None
    if any(isinstance(size, Extent) for size in sizes):
        other = _of_size(reader, sizes)
        layer = Layer("resize", (source.layer, other.layer), words=words)
        return _planes(source, layer, other.axes[2], other.axes[3])
    words["size"] = f"{sizes[0]},{sizes[1]}"
    layer = Layer("resize", (source.layer,), words=words)
    return _planes(source, layer, axis_of(int(sizes[0])), axis_of(int(sizes[1])))


def _planes(source: View, layer: Layer, height: Axis, width: Axis) -> View:
    return View(layer, (*source.axes[:2], height, width), source.channels, height, width)


def _ratio(size: Size, had: Size) -> float | None:
    if isinstance(size, Extent) and isinstance(had, Extent) and size.atoms == had.atoms:
        return float(size.ratio / had.ratio)
    return 1.0 if size == had else None


def _scaled(reader: Reader, axis: Axis, scale: float) -> Axis:
    extent = known(axis)
    if extent is not None:
        return axis_of(int(extent * np.float32(scale)))
    if scale == 1:
        return axis
    size = size_of(axis)
    if scale == int(scale) and isinstance(size, Extent) and len(size.atoms) == 1:
        whole = size * int(scale)
        assert isinstance(whole, Extent)
        return (Atom(OPEN, next(iter(whole.atoms)), whole.ratio),)
    return reader.grown(("scale", axis, scale))


def _of_size(reader: Reader, sizes: Sequence[Size]) -> View:
    """An activation whose planes have these sizes."""
    for found in reader.sized(*sizes):
        if found.rank == 4 and found.shape[2:] == list(sizes) and found.axes[0] == (reader.batch,):
            if (found.height, found.width) == (found.axes[2], found.axes[3]):
                return found
    raise Refusal("it makes a size that the runtime does not know how to find")
