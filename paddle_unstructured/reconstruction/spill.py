# SPDX-License-Identifier: Apache-2.0
"""Activations that do not fit into memory wait in a file."""

from __future__ import annotations

import ctypes
import gc
import mmap
import sys
import tempfile
import weakref
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Iterable, Iterator, Mapping

import numpy as np

from ..formats.scratch import full_disk_said

_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None  # of glibc
_SMALL = 1 << 16  # bytes of an array that stays in memory anyway
_LARGE = 1 << 22  # of one that waits in a file if there are several of it
_ALIGNED = 64  # as kernels like it
_READ = weakref.WeakSet[mmap.mmap]()  # files of arrays that are read by whoever has them


@dataclass
class Spill:
    """Keeps arrays in memory up to a bound, further ones in files without a name, which vanish with the arrays.

    Args:
        limit: bytes of arrays that live at one time.
    """

    limit: float
    _held: int = field(default=0, init=False)

    def kept(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays, or their equals in files."""
        return {name: self._kept(array) for name, array in arrays.items()}

    def _kept(self, array: np.ndarray) -> np.ndarray:
        if array.nbytes <= _SMALL or isinstance(array, _Held) or _mapping(array) is not None:
            return array
        if self._held + array.nbytes <= self.limit:
            self._held += array.nbytes
            held = array.view(_Held)
            weakref.finalize(held, self._gone, array.nbytes)
            return held
        with _file() as file:
            array.tofile(file)
            file.flush()
            return np.memmap(file, array.dtype, "r", shape=array.shape)

    def _gone(self, count: int) -> None:
        self._held -= count


class _Held(np.ndarray):
    """An array that counts."""


def waiting(array: np.ndarray) -> np.ndarray:
    """The array, in a file if it is large."""
    return Spill(0.0).kept({"": array})[""] if array.nbytes >= _LARGE else array


def together(arrays: Iterable[np.ndarray]) -> list[np.ndarray]:
    """The arrays in one file; `trim` lets go of what was read of it, whoever has read."""
    found = list[tuple[int, np.dtype[Any], tuple[int, ...]]]()
    with _file() as file:
        for array in arrays:
            file.seek(-(-file.tell() // _ALIGNED) * _ALIGNED)
            found.append((file.tell(), array.dtype, array.shape))
            array.tofile(file)
        file.flush()
        if not found:
            return []
        mapped = np.memmap(file, np.uint8, "c")
    _READ.add(mapped._mmap)  # type: ignore[attr-defined]
    return [np.ndarray(shape, dtype, mapped, start) for start, dtype, shape in found]


@contextmanager
def _file() -> Iterator[Any]:
    """A file without a name. A full disk is looked at before it is closed, when what it took is free again."""
    folder = tempfile.gettempdir()
    with tempfile.TemporaryFile(prefix="paddle_unstructured_", dir=folder) as file, full_disk_said(folder):
        yield file


def trim() -> None:
    """Give the system back what has been freed, of which each of Paddle's threads hoards some, and what was read of
    arrays that wait together."""
    for mapped in list(_READ):
        _forget(mapped)
    if _TRIM is not None:
        _TRIM(0)


def collect() -> None:
    """Free what Paddle's executors hold, and give it back: each is part of a cycle that holds what it has fetched."""
    gc.collect()
    trim()


def trimmed(feeds: Iterable[Mapping[str, np.ndarray]]) -> Iterator[Mapping[str, np.ndarray]]:
    """The same, one after the other: what has been done with one is freed before the next."""
    for feed in feeds:
        yield feed
        for array in feed.values():
            let_go(array)
        trim()


def let_go(array: np.ndarray) -> None:
    """Give back the memory that what was read of a file takes; it is read anew when it is wanted again."""
    of: Any = array
    while isinstance(of, np.ndarray):  # a view knows whose it is
        mapped, of = _mapping(of), of.base
        if mapped is not None:
            return _forget(mapped)


def _mapping(array: np.ndarray) -> mmap.mmap | None:
    """The file of an array; None of one that numpy made like another in a file, and calls a memmap too."""
    found: mmap.mmap | None = getattr(array, "_mmap", None)
    return found


def _forget(mapped: mmap.mmap) -> None:
    if hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
