# SPDX-License-Identifier: Apache-2.0
"""Mask and weights of one layer, found together.

    minimise |Y - W' X|² + λ |W - W'|² over all W' that a pattern allows

With A = X Xᵀ + λ I and T = Y Xᵀ + λ W, in coordinates in which A has a unit diagonal, by the alternating direction
method of multipliers: a dense least-squares step, a projection on the pattern, and the running sum of what the two
disagree about. A few steps of conjugate gradients on the mask that was found finish the weights. All groups and all
outputs are solved at once.

Source: Boža 2024, arXiv:2401.02938 (weight update by ADMM); Meng et al. 2024, arXiv:2406.07831 (mask and weights
together, then conjugate gradients); Frantar & Alistarh 2023, arXiv:2301.00774 (layer-wise reconstruction).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import numpy as np

from .moments import FEW, MANY, slices
from .spill import let_go

Project = Callable[[np.ndarray, float], np.ndarray]  # values [groups, outputs, inputs], part of the way -> bool mask

STEPS = 10  # of conjugate gradients; more of them fit the calibration data only


@dataclass(frozen=True)
class Effort:
    """How long ADMM goes on.

    Attributes:
        rounds: of projection and least squares.
        ramp: rounds in which the sparsity rises to what is asked.
        penalties: what a disagreement between the two costs, on the scale of a unit diagonal; each is tried.
    """

    rounds: int
    ramp: int
    penalties: tuple[float, ...] = (1.0,)

    @classmethod
    def for_inputs(cls, inputs: int) -> Effort:
        """More where it is cheap: a round multiplies with a matrix of inputs x inputs."""
        if inputs <= 128:
            return cls(80, 60, (0.3, 1.0))
        return cls(40, 24) if inputs <= 1024 else cls(20, 12)


def solve(
    second: np.ndarray,
    cross: np.ndarray,
    weight: np.ndarray,
    damping: float,
    project: Project,
    *,
    penalty: float = 1.0,
    effort: Effort | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find weights that reproduce a layer's outputs under a pattern.

    Args:
        second: sum of x xᵀ, [groups, inputs, inputs].
        cross: sum of y xᵀ, [groups, outputs, inputs].
        weight: the dense weights, [groups, outputs, inputs].
        damping: λ as a multiple of the mean diagonal of `second`: how strongly weights are held at their old values.
        project: (values, part) -> mask: which of the values the pattern keeps when `part` in (0, 1] of the way to its
            sparsity is gone.
        penalty: ρ of ADMM.
        effort: default: `Effort.for_inputs`.

    Returns:
        Weights, zero where the mask is False, float32; and the mask, bool.
    """
    a, t, scale = _scaled(second, cross, weight, damping)
    start = (weight * scale[:, None, :]).astype(np.float32)
    mask = _admm(a, t, start, project, penalty, effort or Effort.for_inputs(weight.shape[-1]))
    del a  # one such matrix at a time
    a, *_ = _scaled(second, cross, weight, damping)
    kept = _conjugate_gradients(a, t, start, mask)
    return kept / scale[:, None, :].astype(np.float32), mask


def refit(
    second: np.ndarray, cross: np.ndarray, weight: np.ndarray, damping: float, mask: np.ndarray, steps: int = STEPS
) -> np.ndarray:
    """The weights alone, for a mask that is given."""
    a, t, scale = _scaled(second, cross, weight, damping)
    start = (weight * scale[:, None, :]).astype(np.float32)
    return _conjugate_gradients(a, t, start, mask, steps) / scale[:, None, :].astype(np.float32)


def _scaled(
    second: np.ndarray, cross: np.ndarray, weight: np.ndarray, damping: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A with a unit diagonal, T to it, and the scale of each input; inputs that are never seen count as pruned."""
    diagonal = np.einsum("gii->gi", second).astype(np.float64)
    dead = diagonal <= 1e-12 * max(float(diagonal.max(initial=0.0)), 1e-30)
    ridge = damping * np.maximum(diagonal.mean(-1, keepdims=True), 1e-30)  # [groups, 1]
    scale = np.sqrt(np.where(dead, 0.0, diagonal) + ridge)
    scale = np.where(dead, 1e-3 * scale.min(-1, keepdims=True), scale)  # worth less than any input that is seen
    a: np.ndarray = np.empty(second.shape, np.float32)
    for rows in slices(second.shape[-1], FEW):
        some = second[:, rows] / (scale[:, rows][:, :, None] * scale[:, None, :])
        a[:, rows] = np.where(dead[:, rows][:, :, None] != dead[:, None, :], 0.0, some)
        let_go(second)
    step = np.arange(a.shape[-1])
    a[:, step, step] = 1.0
    t = (cross + ridge[:, :, None] * weight) / scale[:, None, :]
    t = np.where(dead[:, None, :], weight * scale[:, None, :], t)  # and keeps its weight if it stays
    return a, t.astype(np.float32), scale


def inverse(a: np.ndarray, ridge: float) -> np.ndarray:
    """(A + ridge I)⁻¹ of symmetric matrices [groups, n, n], float32; of large ones by halves in their place.

    With A + ridge I = [[P, Q], [Qᵀ, R]] and S = R - Qᵀ P⁻¹ Q, it is [[P⁻¹ + P⁻¹ Q S⁻¹ Qᵀ P⁻¹, -P⁻¹ Q S⁻¹], [·, S⁻¹]].
    """
    n = a.shape[-1]
    if n < MANY:
        a[:] = np.linalg.inv(a.astype(np.float64) + ridge * np.eye(n))
        return a
    half = n // 2
    p, q, r = inverse(a[:, :half, :half], ridge), a[:, :half, half:], a[:, half:, half:]
    pq = p @ q
    r -= q.transpose(0, 2, 1) @ pq
    inverse(r, ridge)
    np.negative(pq @ r, out=q)
    p -= q @ pq.transpose(0, 2, 1)
    a[:, half:, :half] = q.transpose(0, 2, 1)
    return a


def _admm(
    a: np.ndarray, t: np.ndarray, start: np.ndarray, project: Project, penalty: float, effort: Effort
) -> np.ndarray:
    """The mask; `a` is lost."""
    inverted = inverse(a, penalty)
    x, u, mask = start, np.zeros_like(start), np.ones(start.shape, bool)
    for i in range(effort.rounds):
        gone = 1.0 - (1.0 - min((i + 1) / effort.ramp, 1.0)) ** 3
        mask = project(x + u, gone)
        z = (x + u) * mask
        u += x - z
        x = (t + penalty * (z - u)) @ inverted
    return mask


def _conjugate_gradients(
    a: np.ndarray, t: np.ndarray, start: np.ndarray, mask: np.ndarray, steps: int = STEPS
) -> np.ndarray:
    """All outputs at once; the unit diagonal of `a` is Jacobi's preconditioner."""
    x: np.ndarray = start * mask
    residual = (t - x @ a) * mask
    direction, old = residual, np.square(residual).sum(-1, keepdims=True)
    for _ in range(steps):
        along = (direction @ a) * mask
        curvature = (direction * along).sum(-1, keepdims=True)
        length = old / np.maximum(curvature, 1e-30)
        x = x + length * direction
        residual = residual - length * along
        new = np.square(residual).sum(-1, keepdims=True)
        direction = residual + new / np.maximum(old, 1e-30) * direction
        old = new
    return x
