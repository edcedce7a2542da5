# SPDX-License-Identifier: Apache-2.0
"""What a weight is worth before others make up for it: the criterion that says how many weights each layer loses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Mapping

import numpy as np
import paddle
from paddle import Tensor

from ..graph import Param
from .worth import Worth


@dataclass(frozen=True)
class Damage:
    """Score a weight by how far the net's answers move if it goes alone: s = |w| sqrt(var x · E |dz / dy|²).

    A weight of a layer that is not looked at counts by |w|, times the middle of all others' factors.

    Args:
        worth: of each layer, by name of its weight.

    Source: LeCun, Denker & Solla 1989 (Optimal Brain Damage).
    """

    worth: Mapping[str, Worth] = field(repr=False)
    source: ClassVar[str | None] = None

    def score(self, weight: Tensor, param: Param, information: Tensor | None) -> Tensor:
        found = self.worth.get(param.name)
        if found is None or param.output_axis is None or param.input_axis is None:
            return paddle.abs(weight) * self._middle()
        scores = paddle.abs(weight)
        for squares, axis, other in (
            (found.outputs, param.output_axis, param.input_axis),
            (found.inputs, param.input_axis, param.output_axis),
        ):
            factor = _along(np.sqrt(squares).astype(np.float32), param, axis, other)
            scores = scores * paddle.assign(factor).astype(weight.dtype)
        return scores

    def _middle(self) -> float:
        factors = [float(one.outputs.mean() * one.inputs.mean()) ** 0.5 for one in self.worth.values()]
        return float(np.median(factors)) if factors else 1.0


def _along(vector: np.ndarray, param: Param, axis: int, other: int) -> np.ndarray:
    """A number for each channel, as an array that is multiplied with the weight."""
    shape = [1] * len(param.shape)
    shape[axis] = param.shape[axis]
    if len(vector) != param.shape[axis]:  # channels of all groups, of which the second axis counts one's
        vector = np.repeat(vector.reshape(param.groups, -1), param.shape[other] // param.groups, 0)
        shape[other] = param.shape[other]
    return np.ascontiguousarray(vector).reshape(shape)
