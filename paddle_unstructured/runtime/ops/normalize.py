# SPDX-License-Identifier: Apache-2.0
"""Norms."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..net import affine
from ..reader import Reader
from .common import Converter, Made, attributes_of, require


def _batch_norm(reader: Reader, op: Any) -> Made:
    attributes, view = attributes_of(op), reader.view(op, 0)
    require(attributes.get("is_test") or attributes.get("use_global_stats"), "it is in training mode")
    if view.channels != view.axes[1]:
        view = reader.tokens(view, [1])
    mean, variance, scale, shift = (reader.constant(op, i).astype(np.float64) for i in (1, 2, 3, 4))
    scale = scale / np.sqrt(variance + attributes["epsilon"])
    return view.of(affine(view.layer, scale, shift - mean * scale, alone=reader.alone(op, 0)))


OPS: dict[str, Converter] = {
    "batch_norm_": _batch_norm,
    "batch_norm": _batch_norm,
}
