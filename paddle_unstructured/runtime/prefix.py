# SPDX-License-Identifier: Apache-2.0
"""Stored arrays of which as many places are used as the input's size says: positions, and masks cut to a length."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from .net import Layer
from .reader import Reader
from .refusals import Refusal
from .views import Prefix, View, known, size_of

_LOWEST = -1e30  # in place of minus infinity, which a plan does not hold
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
        return _triangle(reader, view, max(float(array[..., 0, 1].ravel()[0]), _LOWEST))
    if len(cut) != 1:
        raise Refusal("a stored array is cut to open sizes along several axes")
    return _positions(reader, view, array, cut[0])


def _is_causal(array: np.ndarray) -> bool:
    """Whether it is the same number where the last axis is ahead of the one before it, and 0 elsewhere."""
    planes = array.reshape(-1, *array.shape[-2:])
    plane = planes[0]
    if plane.shape[0] != plane.shape[1] or plane.size < 2 or (planes != plane).any():
        return False
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


def _scaled(op: Any, given: Prefix, others: list[Any]) -> Prefix:
    attributes, factor = op.attrs(), np.ravel(others[0])[0]
    shift = attributes["bias"] * (1 if attributes.get("bias_after_scale", True) else factor)
    return Prefix(given.array * factor + shift, given.sizes)


def _triangle_of(cut: Callable[..., Any]) -> Callable[[Any, Prefix, list[Any]], Prefix]:
    return lambda op, given, others: Prefix(cut(given.array, op.attrs()["diagonal"]), given.sizes)


def _cast(op: Any, given: Prefix, others: list[Any]) -> Prefix:
    name = str(op.attrs().get("dtype", op.result(0).dtype)).split(".")[-1].lower()
    return Prefix(given.array.astype({"bfloat16": "float32"}.get(name, name)), given.sizes)


def _negated(op: Any, given: Prefix, others: list[Any]) -> Prefix:
    return Prefix(np.logical_not(given.array), given.sizes)


def _same(op: Any, given: Prefix, others: list[Any]) -> Prefix:
    return given


def _full_like(op: Any, given: Prefix, others: list[Any]) -> np.ndarray:
    """The same number everywhere, with 1 for open sizes, which broadcasts."""
    shape = [1 if axis in given.sizes else extent for axis, extent in enumerate(given.array.shape)]
    return np.full(shape, np.ravel(others[0])[0])


_OPS: dict[str, Callable[[Any, Prefix, list[Any]], Prefix | np.ndarray]] = {
    "unsqueeze": _unsqueeze,
    "embedding": _embedding,
    "full_like": _full_like,
    "cast": _cast,
    "assign": _same,
    "scale": _scaled,
    "triu": _triangle_of(np.triu),
    "tril": _triangle_of(np.tril),
    "logical_not": _negated,
}
_BOTH: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "equal": lambda a, b: a == b,
    "not_equal": lambda a, b: a != b,
    "divide": lambda a, b: a / b,
    "less_than": lambda a, b: a < b,
    "less_equal": lambda a, b: a <= b,
    "greater_than": lambda a, b: a > b,
    "greater_equal": lambda a, b: a >= b,
}


def moved(op: Any, kind: str, operands: list[Any]) -> Prefix | np.ndarray:
    """What an op makes of a prefix and constants.

    Raises:
        Refusal: It is not known.
    """
    if kind in _BOTH:
        return _met(kind, operands)
    kind = kind if kind in _OPS else kind.rstrip("_")
    if kind not in _OPS or not isinstance(operands[0], Prefix):
        raise Refusal("a stored array that is cut to an open size is used in a way that is not known")
    return _OPS[kind](op, operands[0], operands[1:])


def _met(kind: str, operands: list[Any]) -> Prefix:
    """Two of them, or one and a constant that is 1 where the other is cut."""
    given = next(each for each in operands if isinstance(each, Prefix))
    arrays = [each.array if isinstance(each, Prefix) else np.asarray(each) for each in operands]
    rank = max(array.ndim for array in arrays)
    sizes = {axis + rank - given.array.ndim: size for axis, size in given.sizes.items()}
    for each, array in zip(operands, arrays):
        full = (1,) * (rank - array.ndim) + array.shape
        own = {axis + rank - array.ndim: size for axis, size in each.sizes.items()} if isinstance(each, Prefix) else {}
        if own != sizes and any(full[axis] != 1 for axis in sizes):
            raise Refusal("two stored arrays meet that are cut to different sizes")
    return Prefix(np.asarray(_BOTH[kind](*arrays)), sizes)
