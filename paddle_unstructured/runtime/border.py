# SPDX-License-Identifier: Apache-2.0
"""The tensors that a plan reads, and the arrays that are given for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Sequence

import numpy as np

from ..arguments import WrongKind, shown

DTYPES = {  # as csrc/engine/api.h numbers them
    "float32": 0,
    "int16": 1,
    "int32": 2,
    "int8": 3,
    "int64": 4,
    "bool": 5,
    "uint8": 6,
    "float16": 7,
    "float64": 8,
}
_SPELLED = {"n": "n", "h": "height", "w": "width", "c": "channels"}


@dataclass(frozen=True)
class Input:
    """A tensor that a plan reads, and how it becomes planes.

    Attributes:
        name: name of it.
        dtype: one of `DTYPES`; inside, all are float32.
        axes: what each axis is: "n" samples, "c" channels, "h" and "w" rows and columns, "1" an axis of extent 1.
            Several may be the same: ("n", "c", "h", "h", "w") has planes of depth * rows. Without "n", all samples read
            the same.
        dims: extent of each axis; -1 where it is open, as "n" is.
    """

    name: str
    dtype: str
    axes: tuple[str, ...]
    dims: tuple[int, ...]

    @property
    def words(self) -> dict[str, str]:
        """The words of its line in a plan, but for the name."""
        return {"dtype": self.dtype, "axes": ",".join(self.axes), "dims": ",".join(map(str, self.dims))}


IMAGE, VECTORS = ("n", "c", "h", "w"), ("n", "c")  # the usual axes


def image(channels: int, rank: int = 4, *, name: str = "x") -> Input:
    """float32 [n, channels, height, width], or [n, channels] if `rank` is 2."""
    return Input(name, "float32", IMAGE[:rank], (-1, channels, -1, -1)[:rank])


def in_order(inputs: Sequence[Input], given: Sequence[Any]) -> list[np.ndarray]:
    """What was given for the inputs of a model, one after the other or in one dict by name, as arrays that fit them.

    Raises:
        ValueError: Arrays are missing or too many, or one does not fit, or has a number that its dtype does not hold.
        TypeError: One is no array of real numbers.
    """
    names = [each.name for each in inputs]
    if len(given) == 1 and isinstance(given[0], Mapping):
        given = by_name(names, given[0])
    if len(given) != len(inputs):
        raise ValueError(f"the model takes {len(inputs)} input(s), {', '.join(names)}, got {len(given)}.")
    what = ["the input"] if len(inputs) == 1 else [f"the input {name}" for name in names]
    arrays = [checked(each, array, name) for each, array, name in zip(inputs, given, what)]
    counts = {each.name: array.shape[each.axes.index("n")] for each, array in zip(inputs, arrays) if "n" in each.axes}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise ValueError(f"the inputs must have equally many samples, got {said}.")
    return arrays


def by_name(names: Sequence[str], given: Mapping[str, Any]) -> list[Any]:
    """The values of a dict, in the order of the inputs.

    Raises:
        ValueError: An input is missing, or a name is no input's.
    """
    if set(given) != set(names):
        raise ValueError(
            f"the inputs must be given by name, an array for each of {', '.join(names)}, got "
            f"{', '.join(map(str, given)) or 'none'}."
        )
    return [given[name] for name in names]


def checked(how: Input, array: Any, what: str = "the input") -> np.ndarray:
    """An array that fits an input, in its dtype and in C order.

    Raises:
        ValueError: It does not fit, or has a number that the dtype does not hold.
        TypeError: It is no array of real numbers.
    """
    is_real = how.dtype.startswith("float")
    found = _as_real(array, how.dtype, what) if is_real else _as_whole(array, how.dtype, what)
    fits = found.ndim == len(how.dims) and all(want in (-1, got) for want, got in zip(how.dims, found.shape))
    if not fits or any(extent == 0 and axis != "n" for axis, extent in zip(how.axes, found.shape)):
        wanted = ", ".join(str(extent) if extent > 0 else _SPELLED[axis] for axis, extent in zip(how.axes, how.dims))
        raise ValueError(f"{what} must be {how.dtype} of shape [{wanted}], got {list(found.shape)}.")
    return found


def _numbers(array: Any, what: str) -> np.ndarray:
    if isinstance(array, np.ma.MaskedArray):
        raise WrongKind(f"{what} must be numbers everywhere, got a masked array; give x.filled(...).")
    try:
        given = np.asarray(array)
    except Exception as error:
        raise WrongKind(f"{what} must be an array of numbers, got {shown(array)}: {error}.") from error
    if given.dtype.kind not in "fiub":
        raise WrongKind(f"{what} must be real numbers, got an array of {given.dtype}; convert it to float32.")
    return given


def _as_real(array: Any, dtype: str, what: str) -> np.ndarray:
    """Real numbers of any type as `dtype` in C order; all that it holds, float32 holds too."""
    given, kind = _numbers(array, what), np.dtype(dtype)
    narrow = kind if kind.itemsize <= 4 else np.dtype(np.float32)
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(given, kind).reshape(given.shape)
        if given.dtype.itemsize > narrow.itemsize and given.dtype.kind == "f":
            lost = np.isinf(given.astype(narrow)) & np.isfinite(given)
            if lost.any():
                largest = float(np.finfo(narrow).max)
                raise ValueError(f"{what} must fit {narrow}, at most {largest:.3g}, got {given[lost][0]:g}; scale it.")
    return np.asarray(numbers)


def _as_whole(array: Any, dtype: str, what: str) -> np.ndarray:
    """Whole numbers of any type as `dtype` in C order."""
    given = _numbers(array, what)
    if given.dtype.kind == "f":
        raise WrongKind(f"{what} must be whole numbers of {dtype}, got an array of {given.dtype}; convert it.")
    numbers = np.ascontiguousarray(given, dtype).reshape(given.shape)
    lost = numbers != given
    if lost.any():
        raise ValueError(f"{what} must fit {dtype}, got {given[lost][0]}.")
    return np.asarray(numbers)
