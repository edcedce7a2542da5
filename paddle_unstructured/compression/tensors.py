# SPDX-License-Identifier: Apache-2.0
"""Tensors as entries of a compressed model, and back: only what is not zero, in byte planes.

A compressed model is a safetensors file; every entry is uint8 [bytes], unless said otherwise, and "zstd" means one
standard frame.

    metadata: "format" = "paddle_unstructured.model", "version" = "1", "values" as asked for, "kind" = "inference" or
        "checkpoint", "sha256" of the whole file, its own 64 hex digits taken as zeros
    index.json: zstd. A list of the tensors in the order of the model's file, each {"name", "dtype", "shape", "stored"}:
        the model's type and shape, and the type in which the values are here; for int8 "axis" too
    program.json: zstd of the model's .json file; not in a checkpoint

A tensor of two or more dimensions, with zeros that take more bytes than a bitmask, has three entries:

    <name>.bitmask: zstd of one bit per value in C order, the first in the lowest bit of the first byte; 0 = is zero
    <name>.compressed: byte planes of the others, in C order
    <name>.shape: int64 [dimensions]; repeats the index, so that the three entries can be read without it

and one more if there is a -0.0 in it: masks that are multiplied leave that of every negative weight

    <name>.negative: zstd of one bit per zero, in the same order; 1 = is -0.0

Of any other tensor all values are stored: as <name>.compressed, or, up to 4096 bytes, one after the other in the order
of the index as one array per type, in the entry

    <stored>.together: byte planes

Byte planes of n values of b bytes are b zstd frames of n bytes each, one after the other: first the lowest byte of
every value, then the next. Floats (float16, bfloat16, float32, float64) are rotated left by one bit before, so the sign
is the lowest bit. Of no values there is no frame at all.

    <name>.scale: float32 [channels along "axis", or 1 if that is null]; weight = stored int8 * scale
"""

from __future__ import annotations

import json
from math import prod
from operator import itemgetter
from typing import Any, Iterator, Mapping

import numpy as np

from .. import arguments
from ..arguments import StrPath
from ..compression import archive, byte_planes
from ..formats.pdiparams import DTYPES
from .precision import STORED, restored, rounded

LARGEST_FILE = 1 << 29  # bytes of the Program or the index, before zstd
MOST_VALUES = 1 << 48  # of a tensor: more than any memory holds
TOGETHER = 4096  # bytes: an entry of its own would cost about 150 more


class Packer:
    """Takes tensors one at a time, and keeps their entries.

    Attributes:
        entries: By name; complete after `finish`.
        weights, zeros: How many values there were, and how many of them are zero after the rounding.
    """

    def __init__(self, level: int) -> None:
        self.entries: dict[str, np.ndarray] = {}
        self.weights = self.zeros = 0
        self._level = level
        self._index: list[dict[str, Any]] = []
        self._together: dict[str, list[np.ndarray]] = {}

    def add(self, name: str, dtype: str, array: np.ndarray, *, values: str = "fp32", axis: int | None = None) -> None:
        """Pack one tensor.

        Args:
            name: name of the tensor.
            dtype: a key of `DTYPES`.
            array: its bits, as `pdiparams.read` gives them.
            values: a key of `STORED`; other than "fp32" for a float32 weight only.
            axis: output axis, for int8.
        """
        item: dict[str, Any] = {"name": name, "dtype": dtype, "shape": list(array.shape), "stored": dtype}
        if values != "fp32":
            item["stored"] = STORED[values]
            array, scale = rounded(array, values, name, axis)
            if scale is not None:
                item["axis"], self.entries[f"{name}.scale"] = axis, scale
        self._index.append(item)
        self._store(name, item["stored"], np.asarray(array, order="C"))

    def finish(self) -> dict[str, np.ndarray]:
        """All entries."""
        for stored, arrays in self._together.items():
            self.entries[f"{stored}.together"] = self._planes(np.concatenate(arrays), stored)
        self.add_file("index.json", json.dumps(self._index, separators=(",", ":")).encode())
        return self.entries

    def add_file(self, name: str, content: bytes) -> None:
        """Pack anything else."""
        self.entries[name] = _entry(byte_planes.compress(content, self._level))

    def _store(self, name: str, stored: str, array: np.ndarray) -> None:
        values = array.reshape(-1)
        kept = _is_not_zero(values, stored)
        zeros = values.size - int(np.count_nonzero(kept))
        self.weights, self.zeros = self.weights + values.size, self.zeros + zeros
        if array.ndim >= 2 and 8 * zeros * values.itemsize > values.size:
            self.entries[f"{name}.shape"] = np.array(array.shape, np.int64)
            self.entries[f"{name}.compressed"] = self._planes(values[kept], stored)
            self.add_file(f"{name}.bitmask", _packed(kept))
            negative = values.view(f"u{values.itemsize}")[~kept] != 0
            if negative.any():
                self.add_file(f"{name}.negative", _packed(negative))
        elif values.nbytes > TOGETHER:
            self.entries[f"{name}.compressed"] = self._planes(values, stored)
        else:
            self._together.setdefault(stored, []).append(values)

    def _planes(self, values: np.ndarray, stored: str) -> np.ndarray:
        return _entry(byte_planes.encode(values, stored, self._level))


def read_compressed(model: StrPath) -> Iterator[tuple[str, np.ndarray]]:
    """Read the tensors of a compressed model, one at a time; Paddle is not needed.

    Args:
        model: file that `compress` wrote.

    Returns:
        An iterator of (name, array), in the order of the model's file; shapes and types are the model's, with bfloat16
        as the uint16 and float8 as the uint8 that hold its bits.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is of another format or a newer version, cut off or damaged; known before the first tensor.
        ImportError: zstandard is not installed.

    Example:
        >>> for name, array in read_compressed("model.safetensors"):  # doctest: +SKIP
        ...     print(name, array.shape, (array == 0).mean())
    """
    byte_planes.zstandard()
    file = arguments.path("model", model)
    archive.check(file)
    return map(itemgetter(0, 2), unpack(file))


def unpack(path: str) -> Iterator[tuple[str, str, np.ndarray]]:
    """(name, dtype, array) of every tensor in the order of the index, one at a time; the file must be a checked one."""
    entries = archive.entries(path)
    index = _index(entries, path)
    shared = [item for item in index if f"{item['name']}.compressed" not in entries]
    pieces = {
        stored: _pieces(entries, stored, [prod(item["shape"]) for item in shared if item["stored"] == stored])
        for stored in {item["stored"] for item in shared}
    }
    for item in index:
        name, stored = item["name"], item["stored"]
        if f"{name}.compressed" in entries:
            values = _values(entries, name, stored, prod(item["shape"]))
        else:
            values = next(pieces[stored])
        values = values.reshape(item["shape"])
        if stored != item["dtype"]:
            values = restored(values, stored, entries.get(f"{name}.scale"), item.get("axis"))
        yield name, item["dtype"], values
        del values  # the next one is not made beside it


def unpack_file(path: str, name: str) -> bytes:
    """What `add_file` packed."""
    return byte_planes.decompress(archive.entries(path)[name], most=LARGEST_FILE)


def _index(entries: Mapping[str, np.ndarray], path: str) -> list[dict[str, Any]]:
    """What tensors there are, checked."""
    try:
        index: list[dict[str, Any]] = json.loads(byte_planes.decompress(entries["index.json"], most=LARGEST_FILE))
        wrong = [
            item
            for item in index
            if not isinstance(item["name"], str)
            or not {item["dtype"], item["stored"]} <= DTYPES.keys()
            or not all(type(extent) is int and extent >= 0 for extent in item["shape"])
            or prod(item["shape"]) > MOST_VALUES
        ]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} must have an index of its tensors, but it cannot be read: {error!r}.") from error
    if wrong:
        raise ValueError(f"{path} must have an index of tensors, but says {str(wrong[0])[:100]}.")
    return index


def _values(entries: Mapping[str, np.ndarray], name: str, stored: str, count: int) -> np.ndarray:
    """A tensor with an entry of its own, [count]."""
    kept = _bits(entries[f"{name}.bitmask"], count) if f"{name}.bitmask" in entries else None
    values = byte_planes.decode(entries[f"{name}.compressed"], stored, DTYPES[stored].numpy, count, kept)
    if kept is not None and f"{name}.negative" in entries:
        zeros = ~kept
        negative = _bits(entries[f"{name}.negative"], int(np.count_nonzero(zeros)))
        values.view(np.uint8)[values.itemsize - 1 :: values.itemsize][zeros] = negative.view(np.uint8) << np.uint8(7)
    return values


def _pieces(entries: Mapping[str, np.ndarray], stored: str, counts: list[int]) -> Iterator[np.ndarray]:
    """The small tensors of one type."""
    together = byte_planes.decode(entries[f"{stored}.together"], stored, DTYPES[stored].numpy, sum(counts))
    return iter(np.split(together, np.cumsum(counts)[:-1]))


def _packed(bits: np.ndarray) -> bytes:
    return np.packbits(bits, bitorder="little").tobytes()


def _bits(entry: np.ndarray, count: int) -> np.ndarray:
    packed = np.frombuffer(byte_planes.decompress(entry, most=-(-count // 8)), np.uint8)
    if packed.size != -(-count // 8):
        raise ValueError(f"a bitmask of {count} values must have {-(-count // 8)} bytes, and has {packed.size}.")
    return np.unpackbits(packed, count=count, bitorder="little").view(bool)


def _is_not_zero(values: np.ndarray, stored: str) -> np.ndarray:
    if stored in byte_planes.FLOATS:
        bits = values.view(f"u{values.itemsize}")
        return np.asarray(bits << bits.dtype.type(1) != 0)  # whatever the sign
    if stored.startswith("complex"):
        return np.ones(values.size, bool)
    return np.asarray(values != 0)


def _entry(content: bytes) -> np.ndarray:
    return np.frombuffer(content, np.uint8)
