"""Calibration data as the command line and code name it: arrays, .npy and .npz files."""

from __future__ import annotations

import os
import zipfile
from typing import Any, Iterable, Mapping, Union

import numpy as np

Data = Union[str, "os.PathLike[str]", np.ndarray, Mapping[str, np.ndarray], Iterable[Any]]


def read_inputs(data: Data, name: str, shape: list[int]) -> list[np.ndarray]:
    """Batches for the one input of a model.

    Args:
        data: A .npy file of samples, [n, ...]; an .npz file or a dict with such an array under the input's name; an
            array; or batches, each an array or a dict. An array with one axis more than the input, [batches, n, ...],
            is batches.
        name: Of the input.
        shape: That it declares; -1 for an open extent.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such file, there are no samples, or they do not fit the input.
    """
    if isinstance(data, (str, os.PathLike)):
        data = _read(os.fspath(data))
    given: Any = data
    parts = [given] if isinstance(given, (np.ndarray, Mapping)) else list(given)
    arrays = [_named(part, name) for part in parts]
    batches = [batch for array in arrays for batch in (array if array.ndim == len(shape) + 1 else [array])]
    if not sum(len(batch) if batch.ndim else 0 for batch in batches):
        raise ValueError("calibration data must have at least one sample, got none.")
    for batch in batches:
        if batch.ndim != len(shape) or any(want not in (-1, got) for want, got in zip(shape[1:], batch.shape[1:])):
            raise ValueError(
                f"calibration data must fit the input {name!r}, {shape} (or [batches, ...] of such), got "
                f"{list(batch.shape)}."
            )
    return [np.ascontiguousarray(batch, np.float32) for batch in batches if len(batch)]


def _read(file: str) -> Any:
    try:
        found = np.load(file)
        if isinstance(found, np.ndarray):
            return found
        with found:
            return {name: found[name] for name in found.files}
    except (ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{file} must be a .npy or .npz file of arrays, as np.save(file, x) or np.savez(file, x=...) "
            f"writes it: {error}"
        ) from error


def _named(part: Any, name: str) -> np.ndarray:
    if isinstance(part, Mapping):
        if name not in part:
            raise ValueError(
                f"calibration data must have an array for the input {name!r}, got arrays for "
                f"{', '.join(map(str, part)) or 'nothing'}."
            )
        part = part[name]
    array = np.asarray(part)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"calibration data must be numbers, got {array.dtype}.")
    return array
