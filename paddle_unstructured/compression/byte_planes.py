# SPDX-License-Identifier: Apache-2.0
"""Byte planes: what makes floats compressible, and one zstd frame for each plane."""

from __future__ import annotations

from typing import Any

import numpy as np

FLOATS = ("float16", "bfloat16", "float32", "float64")
_BLOCK = 1 << 14


def encode(values: np.ndarray, dtype: str, level: int) -> bytes:
    """Compress an array by its byte planes.

    Weights differ in all their mantissa bits and agree in most of their exponent's. So the first plane is the lowest
    byte of every value, the second the next one, and so on: the exponents stand together, and zstd sees them alone.
    Floats are first rotated left by one bit: the sign becomes the lowest bit, and the exponent fills the highest byte.

    Args:
        values: Any shape, C order counts.
        dtype: A key of `pdiparams.DTYPES`, of which `values` holds the bits.
        level: level of zstd.

    Returns:
        One zstd frame per plane, from the lowest byte up; nothing for no values.
    """
    if values.size == 0:
        return b""
    bits = values.reshape(-1)
    if dtype in FLOATS:
        bits = bits.view(f"u{bits.itemsize}").copy()
        _rotate(bits, 1)
    of_value = bits.view(np.uint8).reshape(-1, bits.itemsize)
    compressor = zstandard().ZstdCompressor(level=level)
    return b"".join(compressor.compress(of_value[:, i].tobytes()) for i in range(bits.itemsize))


def decode(frames: np.ndarray, dtype: str, bits: str, count: int, kept: np.ndarray | None = None) -> np.ndarray:
    """The inverse of `encode`, plane by plane: there is never a second array of that size.

    Args:
        frames: What `encode` returned, uint8.
        dtype: As given there.
        bits: numpy's type for them, `pdiparams.DTYPES[dtype].numpy`.
        count: How many values there are.
        kept: Where they go, bool [count], if not all were encoded; the others are zero.

    Returns:
        The values, [count].

    Raises:
        ValueError: The frames do not hold that many values.
    """
    encoded = count if kept is None else int(np.count_nonzero(kept))
    if encoded:  # before memory is asked for
        _check_plane(frames, encoded)
    values = np.zeros(count, bits)
    reader = zstandard().ZstdDecompressor().stream_reader(frames, read_across_frames=True)
    for i in range(values.itemsize if encoded else 0):
        plane = np.frombuffer(reader.read(encoded), np.uint8)
        if plane.size != encoded:
            raise ValueError(f"a byte plane of {encoded} {dtype} values holds {plane.size} bytes.")
        values.view(np.uint8)[i :: values.itemsize][... if kept is None else kept] = plane
    if reader.read(1):
        raise ValueError(f"more follows the byte planes of {encoded} {dtype} values.")
    if dtype in FLOATS:
        unsigned = values.view(f"u{values.itemsize}")
        _rotate(unsigned, 8 * unsigned.itemsize - 1)
    return values


def _check_plane(frames: np.ndarray, encoded: int) -> None:
    """The first plane says how many bytes it has."""
    try:
        size = zstandard().frame_content_size(frames)
    except zstandard().ZstdError as error:
        raise ValueError(f"a byte plane of {encoded} values cannot be read: {error}.") from error
    if size != encoded:
        raise ValueError(f"a byte plane of {encoded} values holds {size} bytes.")


def compress(content: bytes, level: int) -> bytes:
    """One zstd frame."""
    return bytes(zstandard().ZstdCompressor(level=level).compress(content))


def decompress(frame: np.ndarray, *, most: int) -> bytes:
    """The content of one zstd frame.

    Raises:
        ValueError: It says, or has, more than `most` bytes: 1 byte of a frame can ask for 30,000; or it is damaged.
    """
    zstd = zstandard()
    try:
        size = zstd.frame_content_size(frame)
        if size > most:
            raise ValueError(f"a zstd frame must hold {most} bytes at most, and says that it holds {size}.")
        return bytes(zstd.ZstdDecompressor().decompress(frame, max_output_size=most))
    except zstd.ZstdError as error:
        raise ValueError(f"a zstd frame cannot be read: {error}.") from error


def zstandard() -> Any:
    """The module; ImportError with the way out where it is not installed."""
    try:
        import zstandard as module
    except ImportError as error:
        raise ImportError('compressed models need zstandard; pip install "paddle_unstructured[compress]".') from error
    return module


def _rotate(bits: np.ndarray, by: int) -> None:
    """Rotate unsigned integers to the left in place, a block at a time."""
    left, right = bits.dtype.type(by), bits.dtype.type(8 * bits.itemsize - by)
    for start in range(0, bits.size, _BLOCK):
        block = bits[start : start + _BLOCK]
        block[...] = block << left | block >> right
