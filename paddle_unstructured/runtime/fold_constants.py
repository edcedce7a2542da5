# SPDX-License-Identifier: Apache-2.0
"""Values of a Program that no input reaches, computed on the host: weights, shapes, axes, folded scalars."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

Lookup = Callable[[int], np.ndarray]  # operand number -> its value


def _full(op: Any, of: Lookup) -> np.ndarray:
    attributes = op.attrs()
    return np.full(attributes["shape"], attributes["value"])


def _norm_axes(axes: Any) -> tuple[int, ...]:
    return tuple(int(axis) for axis in np.ravel(axes))


_MAKERS: dict[str, Callable[[Any, Lookup], np.ndarray]] = {
    "full": _full,
    "full_int_array": lambda op, of: np.array(op.attrs()["value"]),
    "reshape": lambda op, of: of(0).reshape(_norm_axes(of(1))),
    "squeeze": lambda op, of: np.squeeze(of(0), _norm_axes(of(1)) or None),
    "unsqueeze": lambda op, of: np.expand_dims(of(0), _norm_axes(of(1))),
    "transpose": lambda op, of: of(0).transpose(op.attrs()["perm"]),
    "multiply": lambda op, of: of(0) * of(1),
    "divide": lambda op, of: of(0) / of(1),
    "add": lambda op, of: of(0) + of(1),
    "subtract": lambda op, of: of(0) - of(1),
    "cast": lambda op, of: of(0).astype(str(op.attrs()["dtype"]).split(".")[-1].lower()),
}


def is_constant_maker(kind: str) -> bool:
    """Whether an op of this kind can be computed here, if all its operands are constants."""
    return kind in _MAKERS


def make_constant(op: Any, kind: str, operands: Lookup) -> np.ndarray:
    """Its first result."""
    return np.asarray(_MAKERS[kind](op, operands))
