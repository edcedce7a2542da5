# SPDX-License-Identifier: Apache-2.0
"""A checked file of named tensors: safetensors, so reading runs no code, with a checksum over all of it."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Mapping

import numpy as np

from ..formats.checked import damaged, read_header

FORMAT, VERSION = "paddle_unstructured.model", 1
_TYPES = {"uint8": "U8", "int64": "I64", "float32": "F32"}
_NUMPY = {word: name for name, word in _TYPES.items()}
_DIGEST = re.compile(rb'"sha256":"[0-9a-f]{64}"')


def _with_digits(digits: str) -> bytes:
    return b'"sha256":"' + digits.encode() + b'"'


_BLANK = _with_digits("0" * 64)


def write(path: str, entries: Mapping[str, np.ndarray], about: Mapping[str, str]) -> None:
    """Write the file; nothing is copied in memory on the way.

    Args:
        path: The file.
        entries: uint8, int64 or float32 arrays by name.
        about: Becomes the file's metadata, beside "format", "version" and "sha256": the SHA-256 of the whole file, its
            own 64 digits taken as zeros.
    """
    header: dict[str, object] = {
        "__metadata__": {"format": FORMAT, "version": str(VERSION), **about, "sha256": "0" * 64}
    }
    end = 0
    entries = dict(sorted(entries.items(), key=lambda entry: -entry[1].itemsize))  # then all of them are aligned
    for name, array in entries.items():
        header[name] = {
            "dtype": _TYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [end, end + array.nbytes],
        }
        end += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256(len(text).to_bytes(8, "little") + text)
    for array in entries.values():
        digest.update(array.reshape(-1).view(np.uint8).data)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text.replace(_BLANK, _with_digits(digest.hexdigest()), 1))
        for array in entries.values():
            file.write(array.reshape(-1).view(np.uint8).data)


def check(path: str) -> dict[str, str]:
    """The metadata of a file that is whole and ours.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Another format, a newer version, cut off or damaged.
    """
    advice = "copy it again"
    about = read_header(
        path, what="a compressed model", writer="compress", format=FORMAT, version=VERSION, advice=advice
    )
    if about.get("sha256") != _digest(path):
        raise damaged(path, advice)
    return about


def entries(path: str) -> dict[str, np.ndarray]:
    """The entries by name, mapped from the file: only what is looked at is read. The file must be a checked one."""
    mapped = np.memmap(path, np.uint8, mode="r")
    begin = 8 + int.from_bytes(mapped[:8].tobytes(), "little")
    header = json.loads(mapped[8:begin].tobytes())
    found = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            found[name] = mapped[begin + first : begin + last].view(_NUMPY[entry["dtype"]]).reshape(entry["shape"])
    return found


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        size = file.read(8)
        digest = hashlib.sha256(size + _DIGEST.sub(_BLANK, file.read(int.from_bytes(size, "little"))))
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()
