"""Byte planes: what makes floats compressible, and one zstd frame for each plane."""
from __future__ import annotations

from typing import Any

import numpy as np

FLOATS = ("float16", "bfloat16", "float32", "float64")


def encode(values: np.ndarray, dtype: str, level: int) -> bytes:
    """Compress an array by its byte planes.

    Weights differ in all their mantissa bits and agree in most of their exponent's. So the first plane is the lowest
    byte of every value, the second the next one, and so on: the exponents stand together, and zstd sees them alone.
    Floats are first rotated left by one bit: the sign becomes the lowest bit, and the exponent fills the highest byte.

    Args:
        values: Any shape, C order counts.
        dtype: A key of `pdiparams.DTYPES`, of which `values` holds the bits.
        level: Of zstd.

    Returns:
        One zstd frame per plane, from the lowest byte up; nothing for no values.
    """
    if values.size == 0:
        return b""
    bits = values.reshape(-1)
    if dtype in FLOATS:
        bits = _rotated(bits.view(f"u{bits.itemsize}"), 1)
    of_value = bits.view(np.uint8).reshape(-1, bits.itemsize)
    compressor = zstandard().ZstdCompressor(level=level)
    return b"".join(compressor.compress(of_value[:, i].tobytes()) for i in range(bits.itemsize))


def decode(frames: bytes, dtype: str, bits: str, count: int) -> np.ndarray:
    """The inverse of `encode`, plane by plane.

    Args:
        frames: What `encode` returned.
        dtype: As given there.
        bits: numpy's type for them, `pdiparams.DTYPES[dtype].numpy`.
        count: How many values there were.

    Returns:
        The values, [count].

    Raises:
        ValueError: The frames do not hold that many values.
    """
    values = np.empty(count, bits)
    of_value = values.view(np.uint8).reshape(-1, values.itemsize) if count else np.empty((0, 0), np.uint8)
    for i in range(of_value.shape[1]):
        plane, frames = _first_frame(frames)
        if len(plane) != count:
            raise ValueError(f"a byte plane of {count} {dtype} values holds {len(plane)} bytes.")
        of_value[:, i] = np.frombuffer(plane, np.uint8)
    if frames:
        raise ValueError(f"{len(frames)} bytes follow the byte planes of {count} {dtype} values.")
    if dtype in FLOATS:
        unsigned = values.view(f"u{values.itemsize}")
        return _rotated(unsigned, 8 * unsigned.itemsize - 1).view(bits)
    return values


def compress(content: bytes, level: int) -> bytes:
    """One zstd frame."""
    return zstandard().ZstdCompressor(level=level).compress(content)


def decompress(frame: bytes) -> bytes:
    """The content of one zstd frame."""
    return _first_frame(frame)[0]


def zstandard() -> Any:
    """The module; ImportError with the way out where it is not installed."""
    try:
        import zstandard as module
    except ImportError as error:
        raise ImportError("compressed models need zstandard; pip install paddle_unstructured[compress].") from error
    return module


def _first_frame(frames: bytes) -> tuple[bytes, bytes]:
    """(content of the first frame, the bytes behind it)."""
    module = zstandard()
    decompressor = module.ZstdDecompressor().decompressobj()
    try:
        content = decompressor.decompress(frames)
    except module.ZstdError as error:
        raise ValueError(f"there is no zstd frame: {error}.") from error
    return content, decompressor.unused_data


def _rotated(bits: np.ndarray, by: int) -> np.ndarray:
    """Unsigned integers rotated to the left."""
    width = 8 * bits.itemsize
    rotated = bits << bits.dtype.type(by)
    rotated |= bits >> bits.dtype.type(width - by)  # a second array, and no third one
    return rotated
