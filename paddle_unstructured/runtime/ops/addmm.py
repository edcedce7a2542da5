# SPDX-License-Identifier: Apache-2.0
"""A product with something added to it: beta * input + alpha * x @ y."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..reader import Reader, Symbol
from ..views import View
from .attention import matmul
from .common import Converter, Made
from .elementwise import pair, scaled


class _Factors:
    """The op as the product of what stands behind its first operand."""

    def __init__(self, op: Any) -> None:
        self._op = op

    def attrs(self) -> dict[str, Any]:
        return {}

    def operand_source(self, i: int) -> Any:
        return self._op.operand_source(i + 1)


def _addmm(reader: Reader, op: Any) -> Made:
    """A linear layer with its bias, where x or y is a weight and the input a constant that varies with its outputs."""
    alpha, beta = float(op.attrs()["alpha"]), float(op.attrs()["beta"])
    given, factors = reader.operand(op, 0), _Factors(op)
    if all(reader.is_constant(op, i) for i in (1, 2)):
        added = alpha * np.matmul(*(reader.constant(op, i).astype(np.float64) for i in (1, 2)))
        return pair(reader, "add", _times(reader.view(op, 0), beta, alone=reader.alone(op, 0)), added)
    product = matmul(reader, factors)
    if isinstance(given, np.ndarray) and given.dtype != object:
        shift = beta * given.astype(np.float64)
        made = scaled(product, alpha, shift, alone=True)
        if made is not None:
            return made
        given = shift
    elif isinstance(given, View):
        given = _times(given, beta, alone=reader.alone(op, 0))
    return pair(reader, "add", _times(product, alpha, alone=True), given)


def _times(view: View, factor: float, *, alone: bool) -> Symbol:
    if factor == 1.0:
        return view
    made = scaled(view, factor, 0.0, alone=alone)
    assert made is not None, "one number is the same for each channel"
    return made


OPS: dict[str, Converter] = {"addmm": _addmm, "baddbmm": _addmm}
