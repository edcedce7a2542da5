# SPDX-License-Identifier: Apache-2.0
"""Calibration data as the command line and code name it: arrays, .npy and .npz files."""

from __future__ import annotations

import os
import zipfile
from typing import Any, Iterable, Mapping, Sequence, Union

import numpy as np

from ...arguments import array as array_of
from ...arguments import has_method, path, wrong_kind
from ...export.images import ENDINGS
from ...export.inputs import cast, dtype_of
from ...formats.atomic import check_readable
from ...saved_model import Model
from ..border import Input

_NPY, _ZIP = b"\x93NUMPY", b"PK"  # how such files begin
_KINDS = "samples (an array, batches of it, or a .npy or .npz file)"
Data = Union[str, "os.PathLike[str]", np.ndarray, Mapping[str, np.ndarray], Iterable[Any]]


def check_samples(data: Any) -> None:
    """Raise unless it may be calibration data; what a file or an iterator holds is seen when it is read.

    Raises:
        ValueError: There are no samples.
        TypeError: It is of another kind, or holds what is no array of numbers.
    """
    if isinstance(data, (str, os.PathLike)):
        path("data", data)
        return
    if isinstance(data, bytes) or not has_method(data, "__iter__"):
        raise wrong_kind("data", _KINDS, data)
    parts = list(data) if isinstance(data, (list, tuple)) else [data] if isinstance(data, (np.ndarray, Mapping)) else []
    arrays = [array for part in parts for array in (part.values() if isinstance(part, Mapping) else [part])]
    found = [array_of("data", array, rule="samples, arrays of numbers") for array in arrays]
    if isinstance(data, (list, tuple, Mapping, np.ndarray)) and not sum(array.size for array in found):
        raise ValueError("`data` must have at least one sample to calibrate on, got none.")


def read_inputs(data: Data, name: str, shape: list[int], *, dtype: str = "float32") -> list[np.ndarray]:
    """Batches for the one input of a model.

    Args:
        data: A .npy file of samples, [n, ...]; an .npz file or a dict with such an array under the input's name; an
            array; or batches, each an array or a dict. An array with one axis more than the input, [batches, n, ...],
            is batches.
        name: Of the input.
        shape: That it declares; -1 for an open extent.
        dtype: of the arrays that are returned.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such file, there are no samples, or they do not fit the input.
    """
    return _fitting(_parts(data), name, shape, dtype)


def read_batches(data: Data, inputs: Sequence[Input]) -> list[list[np.ndarray]]:
    """Batches for all inputs of a net, each an array for every input.

    Args:
        data: as for `read_inputs`; by name if there are several inputs.
        inputs: inputs of the net.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such file, or the arrays do not fit, or are not of equally many samples.
    """
    parts = _parts(data)
    if len(inputs) > 1 and not all(isinstance(part, Mapping) for part in parts):
        names = ", ".join(each.name for each in inputs)
        raise ValueError(f"`data` must give arrays by name, for each of {names}: an .npz file or dicts.")
    columns = [_fitting(parts, each.name, list(each.dims), each.dtype) for each in inputs]
    batches = [list(arrays) for arrays in zip(*columns)]
    counts = {
        each.name: [array.shape[each.axes.index("n")] for array in column]
        for each, column in zip(inputs, columns)
        if "n" in each.axes
    }
    if len({tuple(count) for count in counts.values()}) > 1:
        said = ", ".join(f"{sum(count)} in {len(count)} batch(es) of {name}" for name, count in counts.items())
        raise ValueError(f"`data` must have equally many samples for every input, got {said}.")
    return batches


def _parts(data: Data) -> list[Any]:
    """Arrays, or dicts of them by name."""
    if isinstance(data, (str, os.PathLike)):
        data = _read(path("data", data))
    given: Any = data
    try:
        return [given] if isinstance(given, (np.ndarray, Mapping)) else list(given)
    except Exception:
        raise wrong_kind("data", _KINDS, data) from None


def _fitting(parts: Sequence[Any], name: str, shape: list[int], dtype: str) -> list[np.ndarray]:
    arrays = [_named(part, name) for part in parts]
    batches = [batch for array in arrays for batch in (array if array.ndim == len(shape) + 1 else [array])]
    if not sum(len(batch) if batch.ndim else 0 for batch in batches):
        raise ValueError("`data` must have at least one sample to calibrate on, got none.")
    for batch in batches:
        if batch.ndim != len(shape) or any(want not in (-1, got) for want, got in zip(shape[1:], batch.shape[1:])):
            raise ValueError(
                f"`data` must fit the input {name!r}, {shape} (or [batches, ...] of such), got {list(batch.shape)}."
            )
    return [np.ascontiguousarray(cast("data", name, batch, dtype)) for batch in batches if len(batch)]


def read_named(data: Any, model: Model) -> dict[str, np.ndarray]:
    """Samples for every input of a model, in the inputs' dtypes.

    Args:
        data: as for `read_inputs`; for a model of several inputs an .npz file or a dict, with an array for each.
        model: the model.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds something else, or arrays that do not fit an input, or of different numbers of samples.
    """
    return _together(_columns(data, model))


def read_feeds(data: Any, model: Model) -> dict[str, np.ndarray] | list[dict[str, np.ndarray]]:
    """The same, or batches where these cannot be put together: of several sizes, or for a net of which one input counts
    samples and another nodes, say, in its first axis.

    Args:
        data: as for `read_named`; an array with one axis more than its input is batches.
        model: the model.

    Raises:
        FileNotFoundError, ValueError: as `read_named`.
    """
    columns = _columns(data, model)
    shapes = {name: {batch.shape[1:] for batch in column} for name, column in columns.items()}
    first = {value.shape[0] for value in model.inputs.values()}
    if len(first) == 1 and all(len(of) == 1 for of in shapes.values()):
        return _together(columns)
    if len({len(column) for column in columns.values()}) > 1:
        counts = ", ".join(f"{len(column)} of {name}" for name, column in columns.items())
        raise ValueError(f"`data` must have the same number of batches for every input, got {counts}.")
    return [dict(zip(columns, arrays)) for arrays in zip(*columns.values())]


def _columns(data: Any, model: Model) -> dict[str, list[np.ndarray]]:
    """Batches of each input."""
    parts = _parts(data)
    if len(model.feeds) > 1 and not all(isinstance(part, Mapping) for part in parts):
        raise ValueError(
            f"`data` must give an array for each of {', '.join(model.feeds)}: an .npz file or a dict, by input name."
        )
    return {name: _fitting(parts, name, list(value.shape), dtype_of(value)) for name, value in model.inputs.items()}


def _together(columns: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
    """All samples of each input."""
    found = {name: joined(name, column) for name, column in columns.items()}
    if len({len(array) for array in found.values()}) > 1:
        counts = ", ".join(f"{len(array)} of {name}" for name, array in found.items())
        raise ValueError(f"`data` must have the same number of samples for every input, got {counts}.")
    return found


def joined(name: str, batches: Sequence[np.ndarray]) -> np.ndarray:
    """Batches of an input as one array.

    Raises:
        ValueError: They have different shapes, beyond the number of samples.
    """
    for batch in batches[1:]:
        if batch.shape[1:] != batches[0].shape[1:]:
            raise ValueError(
                f"`data` must give {name} in one shape, got {list(batches[0].shape)} and {list(batch.shape)}; bring "
                "them to one size. (`reconstruct` and `Int8(data)` in Python take batches of several.)"
            )
    return np.concatenate(batches)


def _read(file: str) -> Any:
    check_readable(file)
    with open(file, "rb") as opened:
        if not opened.read(6).startswith((_NPY, _ZIP)):
            ranges = "; ranges of training are for accelerate --int8" if str(file).endswith(".ranges.json") else ""
            image = "; of images give their folder" if str(file).lower().endswith(ENDINGS) else ""
            raise ValueError(
                f"{file} must be a .npy or .npz file of arrays, as np.save(file, x) or np.savez(file, x=...) writes "
                f"it, and begins as neither{ranges}{image}."
            )
    try:
        found = np.load(file, mmap_mode="r")  # of an .npy: what the file does not hold is not allocated
        if isinstance(found, np.ndarray):
            return found
        with found:
            return {name: found[name] for name in found.files}
    except MemoryError as error:
        raise MemoryError(f"{file} does not fit into memory: {error}") from error
    except (ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{file} must be a .npy or .npz file of arrays, as np.save(file, x) or np.savez(file, x=...) "
            f"writes it: {'it is cut short' if 'mmap length' in str(error) else error}"
        ) from error


def _named(part: Any, name: str) -> np.ndarray:
    if isinstance(part, Mapping):
        if name not in part:
            raise ValueError(
                f"`data` must have an array for the input {name!r}, got arrays for "
                f"{', '.join(map(str, part)) or 'nothing'}."
            )
        part = part[name]
    return array_of("data", part, rule="samples, arrays of numbers")
