# SPDX-License-Identifier: Apache-2.0
"""What a solver must know of a layer's data: second moments of inputs in the pruned net, of outputs in the dense one.

All sums are over rows: one row is what one output position of one group reads, in the order of the weight.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from .spill import let_go, waiting

MANY = 1024  # inputs: from here on sums are kept in float32, for the memory
FEW = 64  # rows at a time, where each number is by itself
_ROUNDING = 1e-6


def slices(count: int, rows: int = 512) -> list[slice]:
    """Some rows at a time, where all of them would take much memory on the way."""
    return [slice(i, i + rows) for i in range(0, count, rows)]


@dataclass
class Moments:
    """Sums over rows; x are inputs in the pruned net, y the layer's outputs in the dense net.

    Attributes:
        count: rows seen.
        inputs: sum of x, float64 [groups, inputs].
        outputs: sum of y, float64 [groups, outputs].
        second: sum of x xᵀ, [groups, inputs, inputs], float64; float32 from 1,024 inputs on, for the memory. Several
            of them, and what is made of them, wait in files while others are computed with.
        cross: sum of y xᵀ, float64 [groups, outputs, inputs].
        energy: sum of y², float64 [groups, outputs].
    """

    count: int
    inputs: np.ndarray
    outputs: np.ndarray
    second: np.ndarray
    cross: np.ndarray
    energy: np.ndarray

    @classmethod
    def empty(cls, groups: int, outputs: int, inputs: int) -> Moments:
        """No rows seen yet."""
        return cls(
            0,
            np.zeros((groups, inputs)),
            np.zeros((groups, outputs)),
            np.zeros((groups, inputs, inputs), np.float64 if inputs < MANY else np.float32),
            np.zeros((groups, outputs, inputs)),
            np.zeros((groups, outputs)),
        )

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        """Take rows: x float32 [groups, rows, inputs], y float32 [groups, rows, outputs]."""
        self.count += x.shape[1]
        self.inputs += x.sum(1, dtype=np.float64)
        self.outputs += y.sum(1, dtype=np.float64)
        turned = x.transpose(0, 2, 1)
        for rows in slices(x.shape[-1]):
            self.second[:, rows] += turned[:, rows] @ x
        self.cross += y.transpose(0, 2, 1) @ x
        self.energy += np.square(y, dtype=np.float64).sum(1)

    def include(self, other: Moments) -> None:
        """Take the rows of another one, too."""
        for name in (field.name for field in fields(self) if field.name != "second"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        second = np.empty(self.second.shape, self.second.dtype)
        for rows in slices(second.shape[-1]):
            np.add(self.second[:, rows], other.second[:, rows], out=second[:, rows])
            let_go(self.second)
            let_go(other.second)
        self.second = second

    @property
    def _rows(self) -> int:
        """What sums are divided by: they are zero where no row reaches a layer, such as one behind a choice of none."""
        return max(self.count, 1)

    def wait(self) -> None:
        """Large sums wait in files from now on; there is nothing to add to them."""
        self.second, self.cross = waiting(self.second), waiting(self.cross)

    def centred(self) -> tuple[np.ndarray, np.ndarray]:
        """`second` and `cross` of what is left without the means: for a layer whose bias takes the means up."""
        second = np.empty(self.second.shape, self.second.dtype)
        power = np.empty(self.inputs.shape)
        for rows in slices(second.shape[-1], FEW):
            second[:, rows] = self.second[:, rows] - self.inputs[:, rows, None] * self.inputs[:, None, :] / self._rows
            power[:, rows] = np.einsum("gii->gi", self.second[:, rows, rows])
            let_go(self.second)
        cross = self.cross - self.outputs[:, :, None] * self.inputs[:, None, :] / self._rows
        varies = np.einsum("gii->gi", second) > _ROUNDING * power
        if not varies.all():  # what is left of a constant input is the rounding of products in float32
            second *= varies[:, :, None]
            second *= varies[:, None, :]
            cross = np.where(varies[:, None, :], cross, 0.0)
        let_go(self.cross)
        return waiting(second), cross

    def shift(self, weight: np.ndarray) -> np.ndarray:
        """mean(y) - weight mean(x): the bias that makes the means equal, float64 [groups, outputs]."""
        left: np.ndarray = self.outputs - (weight @ self.inputs[:, :, None])[..., 0]
        return left / self._rows

    def error(self, weight: np.ndarray, shift: np.ndarray | float = 0.0) -> float:
        """Sum over rows of |y - weight x - shift|²; weight float [groups, outputs, inputs]."""
        weight = weight.astype(np.float64)
        fit = _squares(self.second, weight) - 2.0 * (self.cross * weight).sum((1, 2))
        let_go(self.cross)
        left = self.outputs - (weight @ self.inputs[:, :, None])[..., 0]
        total = self.energy.sum(1) + fit + (self.count * np.square(shift) - 2.0 * shift * left).sum(-1)
        return max(float(total.sum()), 0.0)

    def variation(self) -> float:
        """Sum over rows of |y - mean(y)|²: what an error is set in relation to. Constant outputs vary by rounding."""
        varies = float((self.energy - np.square(self.outputs) / self._rows).sum())
        return max(varies, 1e-9 * float(self.energy.sum()), 1e-30)


def energy(second: np.ndarray, weight: np.ndarray) -> float:
    """Sum over rows of |weight x|²; second [groups, inputs, inputs], weight [groups, outputs, inputs]."""
    return max(float(_squares(second, weight.astype(np.float64)).sum()), 0.0)


def _squares(second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The same of each group; some rows of a large matrix at a time."""
    found = np.zeros(len(second))
    for rows in slices(second.shape[-1]):
        found += ((weight[:, :, rows] @ second[:, rows]) * weight).sum((1, 2))
        let_go(second)
    return found
