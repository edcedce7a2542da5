# SPDX-License-Identifier: Apache-2.0
"""Paddle's `.pdiparams` files: read and written tensor by tensor, and refused unless whole.

Such a file holds no names. It is the tensors of its Program (`.json`) one after the other, sorted by name; each is,
little-endian:

    u32 format version 0 | u64 LoD levels 0 | u32 tensor version 0 | i32 size of the description
    the description, a protobuf message: field 1 the type (the numbers of `DTYPES`), field 2 once per dimension
    the values in C order

A Program that lacks a tensor, or a file that was cut off, is not noticed by Paddle in every case; here it is.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO, Dict, Iterator, NamedTuple, Tuple

import numpy as np

from .pir_json import attribute, ops_of, param_name, read_program, understood

Wanted = Dict[str, Tuple[str, Tuple[int, ...]]]  # name -> (dtype, shape), in sorted order
_HEAD = struct.Struct("<IQIi")


class DType(NamedTuple):
    """A type of Paddle: its number in `.pdiparams`, its word in `.json`, and how numpy holds its bits."""

    number: int
    word: str
    numpy: str


DTYPES = {
    "bool": DType(0, "bool", "bool"),
    "int16": DType(1, "i16", "int16"),
    "int32": DType(2, "i32", "int32"),
    "int64": DType(3, "i64", "int64"),
    "float16": DType(4, "f16", "float16"),
    "float32": DType(5, "f32", "float32"),
    "float64": DType(6, "f64", "float64"),
    "uint8": DType(20, "ui8", "uint8"),
    "int8": DType(21, "i8", "int8"),
    "bfloat16": DType(22, "bf16", "uint16"),
    "complex64": DType(23, "c64", "complex64"),
    "complex128": DType(24, "c128", "complex128"),
    "float8_e4m3fn": DType(32, "f8e4m3fn", "uint8"),
    "float8_e5m2": DType(33, "f8e5m2", "uint8"),
}
_BY_NUMBER = {dtype.number: name for name, dtype in DTYPES.items()}
_BY_WORD = {f"0.t_{dtype.word}": name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Stored:
    """A tensor of a `.pdiparams` file.

    Attributes:
        name: name of it in the Program.
        dtype: A key of `DTYPES`.
        shape: shape as stored.
        offset: Where its values begin in the file.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return prod(self.shape) * np.dtype(DTYPES[self.dtype].numpy).itemsize


def scan(file: str, program: str, wanted: Wanted | None = None) -> list[Stored]:
    """Find every tensor of a `.pdiparams` file; no values are read.

    Args:
        file: The `.pdiparams` file.
        program: The `.json` file of its Program (PIR).
        wanted: What the Program wants, if that is known already: of a legacy Program, say. Default:
            `declared(program)`.

    Returns:
        The tensors in the order of the file.

    Raises:
        FileNotFoundError: One of the files is not there.
        ValueError: The file is cut off, holds more than the Program needs, belongs to another Program or is of another
            format; or the `.json` is no Program.

    Example:
        >>> scan("model.pdiparams", "model.json")[0].name  # doctest: +SKIP
        'conv2d_0.w_0'
    """
    wanted, found, size = declared(program) if wanted is None else wanted, [], os.path.getsize(file)
    with open(file, "rb") as stream:
        for i, (name, kind) in enumerate(wanted.items()):
            what = f"tensor {i + 1} of {len(wanted)}, {name}"
            tensor = Stored(name, *_description(stream, file, what), stream.tell())
            same = tensor.shape == kind[1] and (tensor.dtype == kind[0] or tensor.nbytes == 0)
            if not same:  # of a state without numbers, that of an LSTM's dropout, Paddle declares another type
                raise ValueError(
                    f"{file} does not belong to {program}: {name} must be {kind[0]} {list(kind[1])}, but "
                    f"{tensor.dtype} {list(tensor.shape)} is in its place; take both files from the same "
                    "save_inference_model."
                )
            if tensor.offset + tensor.nbytes > size:
                raise _cut_off(file, what)
            found.append(tensor)
            stream.seek(tensor.nbytes, os.SEEK_CUR)
        if stream.tell() < size:
            raise ValueError(
                f"{file} must hold the {len(wanted)} tensors of {program}, but goes on for "
                f"{size - stream.tell()} bytes behind them; take both files from the same "
                "save_inference_model."
            )
    return found


def read(file: str, tensor: Stored) -> np.ndarray:
    """The values of one tensor that `scan` found; bfloat16 as uint16, float8 as uint8: their bits."""
    dtype = DTYPES[tensor.dtype].numpy
    return np.fromfile(file, dtype, count=prod(tensor.shape), offset=tensor.offset).reshape(tensor.shape)


def write(stream: BinaryIO, dtype: str, array: np.ndarray) -> None:
    """Append one tensor, to the bit as Paddle writes it. The caller goes through the names in sorted order.

    Args:
        stream: A file open for writing.
        dtype: A key of `DTYPES`; the array holds its bits as `read` gives them.
        array: The values.
    """
    description = _described(dtype, array.shape)
    stream.write(_HEAD.pack(0, 0, 0, len(description)) + description)
    stream.write(np.asarray(array, order="C").reshape(-1).view(np.uint8).data)


def declared(program: str) -> Wanted:
    """What the `.json` file of a PIR Program wants from its `.pdiparams`: name -> (dtype, shape), in sorted order.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no Program of Paddle 3.
    """
    content = read_program(program)
    with understood(program):
        return dict(sorted((name, _type(value)) for name, value in _persistable(ops_of(content))))


def _persistable(ops: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """(name, type) of what is saved: parameters ("p"), and data ops ("1.data") that are marked persistable."""
    for op in ops:
        name = param_name(op)
        if name is not None and op.get("OA", [1])[0]:  # without "OA" if saved with trainable=False
            yield name, op["O"]["TT"]
        elif op["#"] == "1.data" and attribute(op.get("OA", []), "persistable") == [{"#": "0.a_bool", "D": True}]:
            yield attribute(op["A"], "name"), op["O"][0]["TT"]


def _type(value: Any) -> tuple[str, tuple[int, ...]]:
    dtype, shape = value["D"][:2]
    return _BY_WORD[dtype["#"]], tuple(shape)


def _description(stream: BinaryIO, file: str, what: str) -> tuple[str, tuple[int, ...]]:
    """Read up to where the values begin: dtype, shape."""
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise _cut_off(file, what)
    size = _HEAD.unpack(head)[3]
    description = stream.read(max(0, min(size, 1024)))
    if _HEAD.unpack(head)[:3] == (0, 0, 0) and len(description) < size <= 1024:
        raise _cut_off(file, what)
    numbers = list(_varints(description))
    dtype, shape = _BY_NUMBER.get(numbers[1] if len(numbers) > 1 else -1, ""), tuple(numbers[3::2])
    if not dtype or head + description != _HEAD.pack(0, 0, 0, size) + _described(dtype, shape):
        raise ValueError(
            f"{file} is no .pdiparams file of Paddle, or of an unknown version: {what} does not begin at "
            f"byte {stream.tell() - len(head) - len(description)}; save the model again."
        )
    return dtype, shape


def _described(dtype: str, shape: tuple[int, ...]) -> bytes:
    """The protobuf description: tag 8 is field 1 (type), tag 16 is field 2 (a dimension)."""
    return b"\x08" + _varint(DTYPES[dtype].number) + b"".join(b"\x10" + _varint(extent) for extent in shape)


def _varint(number: int) -> bytes:
    digits = []
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])


def _varints(raw: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in raw:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0


def _cut_off(file: str, what: str) -> ValueError:
    return ValueError(f"{file} is cut off within {what}; save or copy the model again.")
