# SPDX-License-Identifier: Apache-2.0
"""Weights on a grid of few levels, each rounded so that those which are still free make up for it."""

from __future__ import annotations

import numpy as np

from .spill import let_go

_BLOCK = 128  # columns between two updates of all that is behind them
_DAMPING = 0.01


def levels(bits: int) -> int:
    """The largest level of a symmetric grid: 127 of int8."""
    return (1 << (bits - 1)) - 1


def grid(weight: np.ndarray, most: int) -> np.ndarray:
    """The step of each output, max|w| / most, as int8 weights have it: [groups, outputs, 1]."""
    step = np.abs(weight).max(-1, keepdims=True) / np.float32(most)
    found: np.ndarray = np.where(step > 0, step, np.float32(1)).astype(np.float32)
    return found


def nearest(weight: np.ndarray, most: int) -> np.ndarray:
    """Each weight at the level next to it."""
    step = grid(weight, most)
    found: np.ndarray = np.clip(np.rint(weight / step), -most, most) * step
    return found


def compensated(second: np.ndarray, weight: np.ndarray, mask: np.ndarray, most: int) -> np.ndarray:
    """Round one input after the other, those that vary most first; inputs that are still free take the error up.

    With U^T U = (H + λ)^-1, U upper triangular:  q_j = round(w_j),  w_k -= (w_j - q_j) / U_jj U_jk  for all k > j.
    The largest weight of each output keeps its value, so that whoever rounds to the grid of the result finds it exact.

    Args:
        second: H, sum of x xᵀ, [groups, inputs, inputs].
        weight: [groups, outputs, inputs] float32, zero where the mask is False; stays so.
        mask: bool, of its shape.
        most: largest level.

    Returns:
        Weights on `grid(weight, most)`, float32.

    Source: Frantar et al. 2022, arXiv:2210.17323 (GPTQ), after Hassibi & Stork 1992; zeros as in SparseGPT.
    """
    step = grid(weight, most)
    diagonal = np.einsum("gii->gi", second)
    order = (-diagonal).argsort(-1, kind="stable")  # [groups, inputs]
    upper = _factor(second, diagonal, order)
    w = np.take_along_axis(weight.astype(np.float32), order[:, None, :], -1)
    free = np.take_along_axis(mask, order[:, None, :], -1)
    pinned, largest = np.abs(w).argmax(-1)[..., None], np.sign(w) * most * step
    inputs = w.shape[-1]
    for start in range(0, inputs, _BLOCK):
        stop = min(start + _BLOCK, inputs)
        errors = np.zeros((*w.shape[:2], stop - start), np.float32)
        for j in range(start, stop):
            value = w[..., j : j + 1]
            rounded = np.where(free[..., j : j + 1], np.clip(np.rint(value / step), -most, most) * step, 0)
            rounded = np.where(pinned == j, largest[..., j : j + 1], rounded)
            error = (value - rounded) / upper[:, None, j : j + 1, j]
            w[..., j + 1 : stop] -= error * upper[:, None, j, j + 1 : stop]
            w[..., j : j + 1] = rounded
            errors[..., j - start] = error[..., 0]
        w[..., stop:] -= errors @ upper[:, start:stop, stop:]
    found = np.empty_like(w)
    np.put_along_axis(found, order[:, None, :], w, -1)
    return found


def _factor(second: np.ndarray, diagonal: np.ndarray, order: np.ndarray) -> np.ndarray:
    """U of (H + λ)^-1 = U^T U, in the order of rounding, float32.

    With H + λ turned around, last input first, and L L^T of that, U is L^-1 turned around.
    """
    found = np.empty(second.shape, np.float32)
    for one, mean, own, into in zip(second, np.maximum(diagonal.mean(-1), 1e-30), order, found):
        backwards, damping = own[::-1], _DAMPING
        while True:
            a = one[np.ix_(backwards, backwards)]
            a /= mean
            a[np.diag_indices(len(a))] += damping
            try:
                lower = np.linalg.cholesky(a)
                break
            except np.linalg.LinAlgError:  # float32 of inputs that say the same
                damping *= 10.0
        into[:] = _inverse(lower)[::-1, ::-1]
    let_go(second)
    return found


def _inverse(lower: np.ndarray) -> np.ndarray:
    """Of a lower triangular matrix, in its place."""
    if len(lower) <= _BLOCK:
        lower[:] = np.tril(np.linalg.inv(lower))
        return lower
    half = len(lower) // 2
    first, last = _inverse(lower[:half, :half]), _inverse(lower[half:, half:])
    lower[half:, :half] = -(last @ (lower[half:, :half] @ first))
    return lower
