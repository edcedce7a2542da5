# SPDX-License-Identifier: Apache-2.0
"""What token ids stand for, and where in the sequence they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..net import Layer
from ..reader import Reader
from ..views import View, axis_of
from .common import Converter, Made, require

_MOST_ROWS = 1 << 24  # float32 counts no further


def _embedding(reader: Reader, op: Any) -> Made:
    table, padding = reader.constant(op, 1), int(op.attrs().get("padding_idx", -1))
    require(len(table) <= _MOST_ROWS, f"a table of {len(table)} rows, and ids are counted up to {_MOST_ROWS}")
    if padding >= 0:
        table = np.where(np.arange(len(table))[:, None] == padding, np.zeros_like(table), table)
    if reader.is_constant(op, 0):
        return np.asarray(table[reader.constant(op, 0).astype(np.int64)])
    ids, size = reader.tokens(reader.view(op, 0), []), axis_of(table.shape[1])
    words: dict[str, int | str] = {"rows": len(table), "size": table.shape[1]}
    layer = Layer("embedding", (ids.layer,), reader.name(op, 1), table.ravel(), words=words)
    return View(layer, (*ids.axes, size), size, ids.height, ids.width)


def _cumsum(reader: Reader, op: Any) -> Made:
    attributes, view = op.attrs(), reader.view(op, 0)
    require(
        not (attributes.get("flatten") or attributes.get("exclusive") or attributes.get("reverse")),
        "only a running sum from the front, along an axis, is known",
    )
    i = int(np.ravel(reader.constant(op, 1))[0]) % view.rank
    require(reader.batch not in view.axes[i], "it goes over the batch")
    if view.pixels != view.axes[i]:
        view = reader.arranged(
            view,
            channels=tuple(atom for atom in (*view.channels, *view.pixels) if atom not in view.axes[i]),
            pixels=view.axes[i],
        )
    return view.of(Layer("running_sum", (view.layer,)))


OPS: dict[str, Converter] = {"embedding": _embedding, "cumsum": _cumsum}
