# SPDX-License-Identifier: Apache-2.0
"""Stored arrays of which as many places are used as the input's size says: positions, masks, and numbers that depend on
how far a column is from a row (causal masks, relative positions)."""

from __future__ import annotations

from typing import Any, Callable, Sequence

import numpy as np

from .net import Layer
from .reader import Reader
from .refusals import Refusal
from .views import Axis, Prefix, View, known, size_of

_LOWEST = -1e30  # in place of minus infinity, which a plan does not hold
LONGEST = 1 << 16  # numbers of a range that ends at an open size; a table of positions is shorter
_MOST_LAGS = 1 << 20  # numbers of a table of lags that does not end in equal ones
_MOST_POSITIONS = 1 << 22  # numbers of a table of positions
_SHIFTS = (1, 7, 100)  # by which rows and columns are moved together to see whether their distance is all that counts


# ---- what meets activations ------------------------------------------------------------------------------------------
def against(reader: Reader, prefix: Prefix, view: View) -> View:
    """An activation that broadcasts against `view`.

    Raises:
        Refusal: It is cut along two axes, and does not depend on their distance alone.
    """
    behind, given = view.rank - prefix.array.ndim, prefix
    if behind < 0:
        raise Refusal("a stored array of more axes meets an activation")
    prefix = _raised(prefix, view.rank)
    if len(prefix.sizes) == 2:
        prefix = prefix if prefix.lags else _as_lags(prefix)
        number = _causal(prefix)
        if number is not None and prefix.lags == (view.rank - 2, view.rank - 1):
            return _triangle(reader, view, max(number, _LOWEST))
        return _lags(reader, view, prefix, given)
    if len(prefix.sizes) != 1:
        raise Refusal("a stored array is cut to open sizes along several axes")
    return _positions(reader, view, prefix, given)


def _raised(prefix: Prefix, rank: int) -> Prefix:
    """The same with axes of 1 in front."""
    more = rank - prefix.array.ndim
    lags = prefix.lags and (prefix.lags[0] + more, prefix.lags[1] + more)
    array = prefix.array.reshape((1,) * more + prefix.array.shape)
    return Prefix(array, {axis + more: size for axis, size in prefix.sizes.items()}, lags)


def _as_lags(prefix: Prefix) -> Prefix:
    """A square array that is the same along its diagonals."""
    rows, columns = sorted(prefix.sizes)
    planes = np.moveaxis(prefix.array, (rows, columns), (-2, -1))
    if planes.shape[-1] != planes.shape[-2] or (planes[..., 1:, 1:] != planes[..., :-1, :-1]).any():
        raise Refusal("a stored array is cut to open sizes along several axes")
    table = np.concatenate([planes[..., :0:-1, 0], planes[..., 0, :]], -1)
    array = np.expand_dims(np.moveaxis(table, -1, columns - 1), rows)
    return Prefix(array, prefix.sizes, (rows, columns))


def _causal(prefix: Prefix) -> float | None:
    """The number that stands where the column is ahead of the row, if 0 stands everywhere else."""
    if prefix.lags is None or prefix.array.shape[prefix.lags[1]] < 3:
        return None
    tables = np.moveaxis(prefix.array, prefix.lags[1], -1).reshape(-1, prefix.array.shape[prefix.lags[1]])
    table = tables[0]
    if (tables != table).any():
        return None
    middle = len(table) // 2
    ahead = table[middle + 1 :]
    if table[: middle + 1].any() or (ahead != ahead[0]).any() or not ahead[0]:
        return None
    return float(ahead[0])


def _triangle(reader: Reader, view: View, number: float) -> View:
    if size_of(view.axes[-1]) != size_of(view.axes[-2]):
        raise Refusal("a causal mask meets scores of as many queries as keys are not")
    rows, columns = view.axes[-2], view.axes[-1]
    rest = tuple(atom for atom in (*view.channels, *view.pixels) if atom not in (*rows, *columns))
    like = reader.arranged(view, channels=(*rest, *rows), pixels=columns)
    whole = Layer("activation", (like.layer,), act=f"clamp:{number!r}:{number!r}")
    groups = int(np.prod([atom.extent for atom in rest]))
    return like.of(Layer("triangle", (whole,), words={"groups": groups, "diagonal": 1, "upper": 1}))


def _lags(reader: Reader, view: View, prefix: Prefix, given: Prefix) -> View:
    """Numbers by the distance of a column from a row, for each place of the axes in front; one layer for all readers of
    what is `given`."""
    assert prefix.lags is not None
    rows, columns = view.axes[prefix.lags[0]], view.axes[prefix.lags[1]]
    axes = _own_axes(view, prefix)
    front = tuple(atom for i, axis in enumerate(axes) if i not in prefix.lags for atom in axis)
    rest = tuple(atom for atom in (*view.channels, *view.pixels) if atom not in (*rows, *columns))
    if any(atom.is_open for atom in rest) or not rows or not columns:
        raise Refusal("as many tables of distances as the input's size says")
    known_layer = reader.shared.get((given, size_of(rows), size_of(columns)))
    if known_layer is not None:
        return View(known_layer, axes, (*front, *rows), (), columns)
    like = reader.arranged(view, channels=(*rest, *rows), pixels=columns)
    table = np.moveaxis(prefix.array, prefix.lags[1], -1).reshape(-1, prefix.array.shape[prefix.lags[1]])
    table, goes_on = _trimmed(np.maximum(np.asarray(table, np.float64), _LOWEST))
    words: dict[str, int | str] = {
        "groups": int(np.prod([atom.extent for atom in rest])),
        "out": len(table),
        "reach": table.shape[1] // 2,
        "ends": int(goes_on),
    }
    layer = Layer("lags", (like.layer,), weight=table.ravel(), words=words)
    reader.shared[given, size_of(rows), size_of(columns)] = layer
    return View(layer, axes, (*front, *rows), (), columns)


def _trimmed(table: np.ndarray) -> tuple[np.ndarray, bool]:
    """[tables, 2 n - 1] up to a distance beyond which no number changes, and whether there is one."""
    middle = table.shape[1] // 2
    left, right = (table != table[:, :1]).any(0), (table != table[:, -1:]).any(0)
    first = int(left.argmax()) - 1 if left.any() else middle
    last = table.shape[1] - int(right[::-1].argmax()) if right.any() else middle
    reach, most = max(middle - first, last - middle, 1), max(1, _MOST_LAGS // (2 * len(table)))
    goes_on = reach < middle and reach <= most
    reach = min(reach, middle, most)
    return np.asarray(table[:, middle - reach : middle + reach + 1]), goes_on


def _own_axes(view: View, prefix: Prefix) -> tuple[Any, ...]:
    """The axes of a view along which a prefix varies; the others are 1."""
    array = prefix.array
    axes = [view.axes[i] if i in prefix.sizes or array.shape[i] > 1 else () for i in range(view.rank)]
    for i, given in enumerate(axes):
        if i not in prefix.sizes and given and known(given) != array.shape[i]:
            raise Refusal("a stored array meets an activation of another size")
    return tuple(axes)


def _positions(reader: Reader, view: View, prefix: Prefix, given: Prefix) -> View:
    """Numbers for each channel and place along one axis of a view; one layer for all readers of what is `given`."""
    [axis], array = prefix.sizes, prefix.array
    like, places = view, view.axes[axis]
    if known(places) == 1:  # the array repeats the view
        like, places = _of_size(reader, prefix.sizes[axis])
    axes = tuple(places if i == axis else own for i, own in enumerate(_own_axes(view, prefix)))
    channels = tuple(atom for i, own in enumerate(axes) if i != axis for atom in own)
    layer = reader.shared.get((given, size_of(places)))
    if layer is None:
        rest = tuple(atom for atom in (*like.channels, *like.pixels) if atom not in places)
        like = like if like.pixels == places else reader.arranged(like, channels=rest, pixels=places)
        flat = np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis])
        flat = flat[:, : max(1, _MOST_POSITIONS // len(flat))]
        words: dict[str, int | str] = {"channels": len(flat), "height": 1, "width": flat.shape[1]}
        layer = Layer("positions", (like.layer,), weight=flat.astype(np.float64).ravel(), words=words)
        reader.shared[given, size_of(places)] = layer
    return View(layer, axes, channels, (), places)


def _of_size(reader: Reader, size: Any) -> tuple[View, Axis]:
    """An activation with an axis of an open size, and that axis."""
    for other in reader.sized(size):
        for axis in other.axes:
            if size_of(axis) == size and reader.batch not in axis:
                return other, axis
    raise Refusal("a stored array is cut to an open size that no activation has")


# ---- number by number ------------------------------------------------------------------------------------------------
_BY_NUMBER = {
    *("add", "subtract", "multiply", "divide", "floor_divide", "remainder", "maximum", "minimum", "elementwise_pow"),
    *("less_than", "less_equal", "greater_than", "greater_equal", "equal", "not_equal"),
    *("logical_and", "logical_or", "logical_not", "where", "cast", "scale", "pow", "clip", "assign", "share_data"),
    *("sqrt", "rsqrt", "exp", "log", "log1p", "abs", "sin", "cos", "floor", "ceil", "square", "reciprocal"),
    *("relu", "sigmoid", "tanh", "softplus"),
}
Make = Callable[[Callable[[int], Any]], Any]  # from the operands, as arrays, to what the op makes of them


def _number_by_number(operands: Sequence[Any], make: Make) -> Prefix:
    """Operands that broadcast: all cut alike; or one along rows and one along columns, and their distance counts."""
    single = [np.asarray(each) if not isinstance(each, Prefix) else each for each in operands]
    rank = max(each.array.ndim if isinstance(each, Prefix) else each.ndim for each in single)
    prefixes = {i: _raised(each, rank) for i, each in enumerate(single) if isinstance(each, Prefix)}
    prefixes = {i: _as_lags(each) if len(each.sizes) == 2 and not each.lags else each for i, each in prefixes.items()}
    plain = {
        i: each if not each.ndim else each.reshape((1,) * (rank - each.ndim) + each.shape)
        for i, each in enumerate(single)
        if isinstance(each, np.ndarray)
    }
    sizes = {axis: size for each in prefixes.values() for axis, size in each.sizes.items()}
    if any(each.ndim and any(each.shape[axis] != 1 for axis in sizes) for each in plain.values()):
        raise Refusal("two stored arrays meet that are cut to different sizes")
    if any(each.sizes[axis] != sizes[axis] for each in prefixes.values() for axis in each.sizes):
        raise Refusal("two stored arrays meet that are cut to different sizes")
    cuts = sorted(sizes)
    if len(cuts) == 1:
        least = min(each.array.shape[cuts[0]] for each in prefixes.values())
        arrays = {i: _first(each.array, least, cuts[0]) for i, each in prefixes.items()}
        return Prefix(np.asarray(make(lambda i: {**arrays, **plain}[i])), sizes)
    if len(cuts) != 2:
        raise Refusal("stored arrays meet that are cut along several axes")
    lags = (cuts[0], cuts[1])
    reach = min(_reach(each, lags) for each in prefixes.values())
    made = [
        np.asarray(make(lambda i: {**{k: _at(p, lags, reach, by) for k, p in prefixes.items()}, **plain}[i]))
        for by in (0, *_SHIFTS)
    ]
    if not all(np.array_equal(other, made[0], equal_nan=made[0].dtype.kind == "f") for other in made[1:]):
        raise Refusal("ranges of rows and columns meet in a way that does not depend on their distance alone")
    return Prefix(made[0], sizes, lags)


def _first(array: np.ndarray, count: int, axis: int) -> np.ndarray:
    """The first places along an axis, as a view."""
    return array[(slice(None),) * axis + (slice(count),)]


def _reach(prefix: Prefix, lags: tuple[int, int]) -> int:
    if prefix.lags is None:
        return max(1, int(prefix.array.shape[next(iter(prefix.sizes))]) - max(_SHIFTS))
    if prefix.lags != lags:
        raise Refusal("stored arrays meet whose rows and columns differ")
    return (int(prefix.array.shape[lags[1]]) + 1) // 2


def _at(prefix: Prefix, lags: tuple[int, int], reach: int, by: int) -> np.ndarray:
    """Its numbers at all distances, for rows and columns that are `by` places further on."""
    distances = np.arange(1 - reach, reach)
    if prefix.lags is not None:
        middle = prefix.array.shape[lags[1]] // 2
        return np.asarray(prefix.array.take(middle + distances, lags[1]))
    [axis] = prefix.sizes
    places = np.maximum(-distances if axis == lags[0] else distances, 0) + by
    found = prefix.array.take(places, axis)
    return np.asarray(found if axis == lags[1] else np.swapaxes(found, lags[0], lags[1]))


# ---- what moves numbers ----------------------------------------------------------------------------------------------
def _mapped(given: Prefix, array: np.ndarray, to: Callable[[int], int]) -> Prefix:
    """Another array, whose axis to(i) is axis i of the given one."""
    lags = given.lags and (to(given.lags[0]), to(given.lags[1]))
    return Prefix(array, {to(axis): size for axis, size in given.sizes.items()}, lags)


def _unsqueeze(op: Any, given: Prefix, others: list[Any]) -> Prefix:
    for axis in np.ravel(others[0]):
        axis = int(axis) % (given.array.ndim + 1)
        given = _mapped(given, np.expand_dims(given.array, axis), lambda i: i + (i >= axis))
    return given


def _squeeze(op: Any, given: Prefix, others: list[Any]) -> Prefix:
    rank = given.array.ndim
    gone = sorted((int(axis) % rank for axis in np.ravel(others[0])), reverse=True)
    for axis in gone or [i for i in reversed(range(rank)) if given.array.shape[i] == 1]:
        if axis not in given.sizes and given.array.shape[axis] == 1:
            given = _mapped(given, np.squeeze(given.array, axis), lambda i: i - (i > axis))
    return given


def _transpose(op: Any, given: Prefix, others: list[Any]) -> Prefix:
    order = [int(axis) % given.array.ndim for axis in op.attrs()["perm"]]
    return _mapped(given, given.array.transpose(order), order.index)


def _reshape(op: Any, given: Prefix, others: list[Any]) -> Prefix:
    """What lies before the axis that is cut, and what lies behind it, is divided otherwise."""
    shape, [cut, *more] = given.array.shape, list(given.sizes)
    sizes = [given.sizes.get(i, shape[i]) if size == 0 else size for i, size in enumerate(_flat_sizes(others[0]))]
    for at, size in enumerate(sizes):
        around: Any = (sizes[:at], sizes[at + 1 :])
        is_known = all(isinstance(each, (int, np.integer)) and each > 0 for side in around for each in side)
        if more or not is_known or size not in (-1, given.sizes[cut]):
            continue
        if [int(np.prod(side)) for side in around] == [int(np.prod(shape[:cut])), int(np.prod(shape[cut + 1 :]))]:
            array = given.array.reshape([*around[0], shape[cut], *around[1]])
            return Prefix(array, {at: given.sizes[cut]})
    raise Refusal("a stored array that is cut to an open size is reshaped in a way that is not known")


def _flat_sizes(sizes: Any) -> list[Any]:
    return [each for size in (sizes if isinstance(sizes, tuple) else (sizes,)) for each in np.ravel(size)]


def _expand(op: Any, given: Prefix, others: list[Any]) -> Prefix:
    """An axis that gets the input's size stays 1, which broadcasts."""
    target = _flat_sizes(others[0])
    given = _raised(given, len(target))
    shape = [
        had if axis in given.sizes or not isinstance(size, (int, np.integer)) or size == -1 else int(size)
        for axis, (had, size) in enumerate(zip(given.array.shape, target))
    ]
    return _mapped(given, np.broadcast_to(given.array, shape), lambda i: i)


def _embedding(op: Any, given: Prefix, others: list[Any]) -> Prefix:
    """Rows of a table by whole numbers."""
    table, ids = others[0], given.array
    if given.lags is None:
        axis = next(iter(given.sizes))
        ids = _first(ids, len(table), axis)
    if ids.min() < 0 or ids.max() >= len(table):
        raise Refusal("a table is read at numbers that it does not have")
    return _mapped(given, table[ids], lambda i: i)


def _triangle_of(keeps: Callable[[np.ndarray, int], np.ndarray]) -> Callable[[Any, Prefix, list[Any]], Prefix]:
    def cut(op: Any, given: Prefix, others: list[Any]) -> Prefix:
        rank = given.array.ndim
        given = given if given.lags or len(given.sizes) != 2 else _as_lags(given)
        if given.lags != (rank - 2, rank - 1):
            raise Refusal("a triangle of what is not as high as wide")
        reach = (given.array.shape[-1] + 1) // 2
        kept = keeps(np.arange(1 - reach, reach), int(op.attrs()["diagonal"]))
        return _mapped(given, np.where(kept, given.array, np.zeros_like(given.array)), lambda i: i)

    return cut


def _full_like(op: Any, given: Prefix, others: list[Any]) -> np.ndarray:
    """The same number everywhere, with 1 for open sizes, which broadcasts."""
    shape = [1 if axis in given.sizes else extent for axis, extent in enumerate(given.array.shape)]
    return np.full(shape, np.ravel(others[0])[0])


def _matmul(op: Any, given: Prefix, others: list[Any]) -> Prefix:
    """Each of its rows times a weight."""
    attributes, weight, axis = op.attrs(), others[0], given.array.ndim - 1
    if given.lags or axis in given.sizes or weight.ndim != 2 or attributes.get("transpose_x"):
        raise Refusal("a product of a stored array that is cut to an open size")
    return _mapped(given, given.array @ (weight.T if attributes.get("transpose_y") else weight), lambda i: i)


_MOVES: dict[str, Callable[[Any, Prefix, list[Any]], Prefix | np.ndarray]] = {
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "transpose": _transpose,
    "reshape": _reshape,
    "expand": _expand,
    "embedding": _embedding,
    "full_like": _full_like,
    "matmul": _matmul,
    "triu": _triangle_of(lambda lag, diagonal: lag >= diagonal),
    "tril": _triangle_of(lambda lag, diagonal: lag <= diagonal),
}


def _joined(op: Any, parts: Sequence[Any], axis: int) -> Prefix:
    """Some of them side by side along an axis that is not cut."""
    first = parts[0]
    alike = all(isinstance(each, Prefix) and (each.sizes, each.lags) == (first.sizes, first.lags) for each in parts)
    if not alike or axis % first.array.ndim in first.sizes:
        raise Refusal("stored arrays that are cut to open sizes are joined in a way that is not known")
    lengths = {cut: min(each.array.shape[cut] for each in parts) for cut in first.sizes}
    if first.lags and len({each.array.shape[first.lags[1]] for each in parts}) > 1:
        raise Refusal("stored arrays of different reach are joined")
    arrays = [each.array for each in parts]
    for cut, least in lengths.items():
        arrays = [_first(array, least, cut) for array in arrays]
    return Prefix(np.concatenate(arrays, axis), first.sizes, first.lags)


def _einsum(op: Any, parts: Sequence[Any]) -> Prefix:
    """Products with constants that sum over no axis that is cut."""
    sides, _, target = str(op.attrs()["equation"]).replace(" ", "").partition("->")
    names = sides.split(",")
    open_letters = {
        name[axis]: size
        for name, each in zip(names, parts)
        if isinstance(each, Prefix)
        for axis, size in each.sizes.items()
    }
    known_uses = all(sum(letter in name for name in names) == 1 and letter in target for letter in open_letters)
    if len(open_letters) != 1 or not known_uses or any(isinstance(each, Prefix) and each.lags for each in parts):
        raise Refusal("a product of a stored array that is cut to an open size")
    arrays = [each.array if isinstance(each, Prefix) else np.asarray(each) for each in parts]
    sizes = {target.index(letter): size for letter, size in open_letters.items()}
    return Prefix(np.asarray(np.einsum(f"{sides}->{target}", *arrays)), sizes)


def has_prefix(operands: Sequence[Any]) -> bool:
    """Whether a prefix is among some operands, or in a list of them."""
    return any(has_prefix(each) if isinstance(each, tuple) else isinstance(each, Prefix) for each in operands)


def moved(op: Any, kind: str, operands: list[Any], make: Make) -> Prefix | np.ndarray:
    """What an op makes of a prefix and constants.

    Args:
        op: the op.
        kind: kind of it.
        operands: what it reads.
        make: makes arrays of arrays, as the op does.

    Raises:
        Refusal: It is not known.
    """
    for name in (kind, kind.rstrip("_")):
        if name in _BY_NUMBER:
            return _number_by_number(operands, make)
        if name in ("concat", "stack") and isinstance(operands[0], tuple):
            parts, axis = list(operands[0]), int(op.attrs()["axis"] if name == "stack" else np.ravel(operands[1])[0])
            if name == "stack":
                axis %= max(each.array.ndim for each in parts if isinstance(each, Prefix)) + 1
                parts = [_unsqueeze(op, each, [axis]) if isinstance(each, Prefix) else each for each in parts]
            return _joined(op, parts, axis)
        if name == "einsum" and isinstance(operands[0], tuple):
            return _einsum(op, operands[0])
        if name in _MOVES and isinstance(operands[0], Prefix):
            return _MOVES[name](op, operands[0], operands[1:])
    raise Refusal("a stored array that is cut to an open size is used in a way that is not known")
