# SPDX-License-Identifier: Apache-2.0
"""What converters of ops ask of an op."""

from __future__ import annotations

from typing import Any, Callable, Union

import numpy as np

from ..net import Layer
from ..reader import Reader, Results, Symbol
from ..refusals import Refusal
from ..views import View

Made = Union[Symbol, Layer, Results, None]  # a Layer: [n, channels, height, width] of the shape that the Program says
Converter = Callable[[Reader, Any], Made]


def require(holds: Any, reason: str) -> None:
    """Refuse the op if this does not hold."""
    if not holds:
        raise Refusal(reason)


def attributes_of(op: Any) -> dict[str, Any]:
    """Attributes of an op whose channels come before its pixels."""
    attributes: dict[str, Any] = op.attrs()
    require(attributes.get("data_format", "NCHW") in ("NCHW", "AnyLayout", "NCDHW", "NCL"), "only NCHW is known")
    return attributes


def shape_of(op: Any, i: int = 0) -> list[int]:
    """Shape of an operand as the Program says it; -1 for what is open."""
    return list(op.operand_source(i).shape)


def number(reader: Reader, op: Any, i: int) -> float:
    """An operand that is one number."""
    return float(np.ravel(reader.constant(op, i))[0])


def axis_numbers(view: View, axes: Any) -> list[int]:
    """Numbers of axes, counted from the front."""
    return sorted(int(axis) % view.rank for axis in np.ravel(axes))
