# SPDX-License-Identifier: Apache-2.0
"""Fewer bits per weight: bfloat16, float16, and int8 or int4 with a scale per output channel. A zero stays a zero."""

from __future__ import annotations

import numpy as np

from ..formats import bfloat16

# Asked -> type in the file. Of int4 zstd makes about the bits that its 15 numbers need, so that it is stored as int8.
STORED = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "int8": "int8", "int4": "int8"}
_LARGEST_SCALE = np.nextafter(np.finfo(np.float32).max / np.float32(127), np.float32(0))  # 127 of it stay finite
_CUTS = np.linspace(1.0, 0.5, 26, dtype=np.float32)  # fractions of the largest weight that int4 tries as its end


def rounded(weight: np.ndarray, values: str, name: str, axis: int | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Round a float32 weight.

    bf16 and fp16: to nearest, ties to even. int8, symmetric, per channel c along `axis`:
        scale_c = max|w_c| / 127 (1 where that is 0),  q = clip(round(w / scale_c), -127, 127).
    int4: the same with 7 in place of 127, and of max|w_c| the fraction in [0.5, 1] with the least squared error.

    Args:
        weight: float32, any shape.
        values: A key of `STORED`.
        name: For the message of an error.
        axis: The output axis, for int8 and int4; None: one scale for all.

    Returns:
        The values (bf16 as the uint16 that holds its bits), weight's shape; and the scales, float32 [channels], or
        None. A small value may round to zero, and -0.0 becomes 0.0; a zero never becomes anything else. A NaN stays
        one in bf16.

    Raises:
        ValueError: A finite value that the type cannot hold, or NaN or infinity in fp16, int8 or int4.
    """
    if values == "fp32":
        return weight, None
    if values == "bf16":
        return _to_bfloat16(weight.reshape(-1), name).reshape(weight.shape), None
    _check_finite(weight, values, name)
    if values == "fp16":
        return _to_float16(weight.reshape(-1), name).reshape(weight.shape), None
    return _to_int8(weight, axis) if values == "int8" else _to_int4(weight, axis)


def restored(stored: np.ndarray, dtype: str, scale: np.ndarray | None, axis: int | None) -> np.ndarray:
    """float32 from what `rounded` returned; `dtype` is a value of `STORED`."""
    if dtype == "bfloat16":
        return bfloat16.widened(stored)
    weight = stored.astype(np.float32)
    if scale is not None:
        weight *= _along(scale, axis, stored.ndim)
    return weight


def _to_bfloat16(weight: np.ndarray, name: str) -> np.ndarray:
    halves = bfloat16.nearest(weight)
    infinite = (halves & np.uint16(0x7FFF)) == np.uint16(0x7F80)
    _check_overflow(infinite & np.isfinite(weight), weight, "bf16", name)
    halves[halves == 0x8000] = 0
    return halves


def _to_float16(weight: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore"):
        halves = weight.astype(np.float16)
    _check_overflow(np.isinf(halves), weight, "fp16", name)
    halves += np.float16(0)  # -0.0 + 0.0 is 0.0
    return np.asarray(halves)


def _to_int8(weight: np.ndarray, axis: int | None) -> tuple[np.ndarray, np.ndarray]:
    scale = _scale(_largest(weight, axis), 127)
    return _steps(weight, scale, axis, 127).astype(np.int8), scale


def _to_int4(weight: np.ndarray, axis: int | None) -> tuple[np.ndarray, np.ndarray]:
    largest = _largest(weight, axis)
    scale = _scale(largest, 7)
    least = _squared_error(weight, scale, axis)
    for cut in _CUTS[1:]:
        tried = _scale(largest * cut, 7)
        error = _squared_error(weight, tried, axis)
        scale, least = np.where(error < least, tried, scale), np.minimum(error, least)
    return _steps(weight, scale, axis, 7).astype(np.int8), scale


def _largest(weight: np.ndarray, axis: int | None) -> np.ndarray:
    return np.asarray(np.max(np.abs(weight), axis=_others(weight, axis), initial=0.0).reshape(-1).astype(np.float32))


def _others(weight: np.ndarray, axis: int | None) -> tuple[int, ...]:
    return tuple(i for i in range(weight.ndim) if i != axis)


def _scale(largest: np.ndarray, most: int) -> np.ndarray:
    scale = np.minimum(largest / np.float32(most), _LARGEST_SCALE)
    scale[scale == 0] = 1.0  # a channel of zeros, or of numbers too small for a scale
    return np.asarray(scale)


def _steps(weight: np.ndarray, scale: np.ndarray, axis: int | None, most: int) -> np.ndarray:
    quotients = np.asarray(weight / _along(scale, axis, weight.ndim))
    return np.asarray(np.clip(np.rint(quotients, out=quotients), -most, most, out=quotients))


def _squared_error(weight: np.ndarray, scale: np.ndarray, axis: int | None) -> np.ndarray:
    error = _steps(weight, scale, axis, 7) * _along(scale, axis, weight.ndim)
    error -= weight
    return np.asarray(np.square(error, dtype=np.float64).sum(axis=_others(weight, axis)).reshape(-1))


def _along(scale: np.ndarray, axis: int | None, rank: int) -> np.ndarray:
    """[channels] -> a shape that spreads over the weight."""
    return scale.reshape([-1 if i == axis else 1 for i in range(rank)])


def _check_finite(weight: np.ndarray, values: str, name: str) -> None:
    bad = int(weight.size - np.count_nonzero(np.isfinite(weight)))
    if bad:
        raise ValueError(
            f'`values` must be "fp32" or "bf16" for a weight with NaN or infinity, got "{values}" and '
            f"{bad} such values in {name}; look into the training that made them."
        )


def _check_overflow(overflowed: np.ndarray, weight: np.ndarray, values: str, name: str) -> None:
    if overflowed.any():
        wider = '"fp32"' if values == "bf16" else '"bf16" or "fp32"'
        raise ValueError(
            f'`values` must hold every weight, got "{values}", in which {np.count_nonzero(overflowed)} of '
            f"{name} become infinite, {weight[overflowed].flat[0]:g} for one; choose {wider}."
        )
