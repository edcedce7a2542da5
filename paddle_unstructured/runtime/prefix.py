# SPDX-License-Identifier: Apache-2.0
"""Stored arrays of which as many places are used as the input's size says: positions, and masks cut to a length."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from .net import Layer
from .reader import Reader
from .refusals import Refusal
from .views import Prefix, View, known, size_of

LONGEST = 1 << 16  # numbers of a range that ends at an open size; a table of positions is shorter


def against(reader: Reader, prefix: Prefix, view: View) -> View:
    """An activation that broadcasts against `view`.

    Raises:
        Refusal: It is cut along two axes, and no causal mask.
    """
    behind = view.rank - prefix.array.ndim
    if behind < 0:
        raise Refusal("a stored array of more axes meets an activation")
    array = prefix.array.reshape((1,) * behind + prefix.array.shape)
    cut = [axis + behind for axis in prefix.sizes]
    if len(cut) == 2 and {*cut} == {view.rank - 2, view.rank - 1} and _is_causal(array):
        return _triangle(reader, view, float(array.ravel()[1]))
    if len(cut) != 1:
        raise Refusal("a stored array is cut to open sizes along several axes")
    return _positions(reader, view, array, cut[0])


def _is_causal(array: np.ndarray) -> bool:
    """Whether it is the same number where the last axis is ahead of the one before it, and 0 elsewhere."""
    if array.size != array.shape[-1] * array.shape[-2] or array.shape[-1] != array.shape[-2] or array.size < 2:
        return False
    plane = array.reshape(array.shape[-2:])
    return bool((plane == np.triu(np.full_like(plane, plane[0, 1]), 1)).all())


def _triangle(reader: Reader, view: View, number: float) -> View:
    if size_of(view.axes[-1]) != size_of(view.axes[-2]):
        raise Refusal("a causal mask meets scores of as many queries as keys are not")
    rows, columns = view.axes[-2], view.axes[-1]
    rest = tuple(atom for atom in (*view.channels, *view.pixels) if atom not in (*rows, *columns))
    like = reader.arranged(view, channels=(*rest, *rows), pixels=columns)
    whole = Layer("activation", (like.layer,), act=f"clamp:{number!r}:{number!r}")
    groups = int(np.prod([atom.extent for atom in rest]))
    return like.of(Layer("triangle", (whole,), words={"groups": groups, "diagonal": 1, "upper": 1}))


def _positions(reader: Reader, view: View, array: np.ndarray, axis: int) -> View:
    """Numbers for each channel and place along one axis of a view."""
    places = view.axes[axis]
    axes = [places if i == axis else () if array.shape[i] == 1 else view.axes[i] for i in range(view.rank)]
    for i, given in enumerate(axes):
        if i != axis and given and known(given) != array.shape[i]:
            raise Refusal("a stored array meets an activation of another size")
    channels = tuple(atom for i, given in enumerate(axes) if i != axis for atom in given)
    rest = tuple(atom for atom in (*view.channels, *view.pixels) if atom not in places)
    like = view if view.pixels == places else reader.arranged(view, channels=rest, pixels=places)
    flat = np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis])
    words: dict[str, int | str] = {"channels": len(flat), "height": 1, "width": flat.shape[1]}
    layer = Layer("positions", (like.layer,), weight=flat.astype(np.float64).ravel(), words=words)
    return View(layer, tuple(axes), channels, (), places)


def _unsqueeze(op: Any, given: Prefix, others: list[Any]) -> Prefix:
    array, sizes = given.array, dict(given.sizes)
    for axis in np.ravel(others[0]):
        axis = int(axis) % (array.ndim + 1)
        array = np.expand_dims(array, axis)
        sizes = {i + (i >= axis): size for i, size in sizes.items()}
    return Prefix(array, sizes)


def _embedding(op: Any, given: Prefix, others: list[Any]) -> Prefix:
    """Rows of a table by a range of numbers."""
    table, ids = others[0], given.array
    axis = next(iter(given.sizes))
    count = min(len(table), ids.shape[axis])
    ids = ids.take(range(count), axis)
    if len(given.sizes) != 1 or ids.max() >= len(table):
        raise Refusal("a table is read at numbers that it does not have")
    return Prefix(table[ids], given.sizes)


def _same(op: Any, given: Prefix, others: list[Any]) -> Prefix:
    return given


_OPS: dict[str, Callable[[Any, Prefix, list[Any]], Prefix]] = {
    "unsqueeze": _unsqueeze,
    "embedding": _embedding,
    "cast": _same,
    "assign": _same,
}


def moved(op: Any, kind: str, operands: list[Any]) -> Prefix:
    """What an op makes of a prefix and constants.

    Raises:
        Refusal: It is not known.
    """
    if kind not in _OPS or not isinstance(operands[0], Prefix):
        raise Refusal("a stored array that is cut to an open size is used in a way that is not known")
    return _OPS[kind](op, operands[0], operands[1:])
