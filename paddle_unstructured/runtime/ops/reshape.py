# SPDX-License-Identifier: Apache-2.0
"""Ops that only name axes anew, and cost nothing: reshape, transpose, squeeze, shuffles of channels."""

from __future__ import annotations

from typing import Any

from ..reader import Reader
from ..views import known
from .common import Converter, Made, either_order, require, shape_of


def _reshape(reader: Reader, op: Any) -> Made:
    return reader.reshaped(reader.view(op, 0), reader.sizes(op, 1))


def _flatten(reader: Reader, op: Any) -> Made:
    view, attributes = reader.view(op, 0), op.attrs()
    first, last = attributes["start_axis"] % view.rank, attributes["stop_axis"] % view.rank
    return view.with_axes([*view.axes[:first], view.flat(range(first, last + 1)), *view.axes[last + 1 :]])


def _squeeze(reader: Reader, op: Any) -> Made:
    view = reader.view(op, 0)
    given = [int(axis) % view.rank for axis in reader.sizes(op, 1)]
    axes = given or [i for i, extent in enumerate(shape_of(op)) if extent == 1]
    gone = [i for i in axes if known(view.axes[i]) == 1]
    kept = [axis for i, axis in enumerate(view.axes) if i not in gone]
    lost = tuple(atom for i in gone for atom in view.axes[i])  # a batch of exactly one
    if lost:
        require(kept, "nothing is left but the batch")
        kept[0] = (*lost, *kept[0])
    return view.with_axes(kept)


def _unsqueeze(reader: Reader, op: Any) -> Made:
    view, axes = reader.view(op, 0), list(reader.view(op, 0).axes)
    for axis in reader.sizes(op, 1):
        axes.insert(int(axis) % (len(axes) + 1), ())
    return view.with_axes(axes)


def _transpose(reader: Reader, op: Any) -> Made:
    view = reader.view(op, 0)
    return view.transposed([axis % view.rank for axis in op.attrs()["perm"]])


def _pixel_shuffle(reader: Reader, op: Any) -> Made:
    """[n, C r r, h, w] -> [n, C, h r, w r]."""
    view, factor = reader.view(op, 0), op.attrs()["upscale_factor"]
    batch, channels, height, width = view.shape
    split = reader.reshaped(view, [batch, channels // factor**2, factor, factor, height, width])
    n, c, r, s, h, w = split.axes
    return split.with_axes([n, c, (*h, *r), (*w, *s)])


def _pixel_unshuffle(reader: Reader, op: Any) -> Made:
    """[n, C, h r, w r] -> [n, C r r, h, w]."""
    view, factor = reader.view(op, 0), op.attrs()["downscale_factor"]
    batch, channels, height, width = view.shape
    split = reader.reshaped(view, [batch, channels, height // factor, factor, width // factor, factor])
    n, c, h, r, w, s = split.axes
    return split.with_axes([n, (*c, *r, *s), h, w])


def _channel_shuffle(reader: Reader, op: Any) -> Made:
    view, groups = reader.view(op, 0), op.attrs()["groups"]
    batch, channels, height, width = view.shape
    split = reader.reshaped(view, [batch, groups, channels // groups, height, width])
    n, g, c, h, w = split.axes
    return split.with_axes([n, (*c, *g), h, w])


OPS: dict[str, Converter] = {
    "reshape": _reshape,
    "flatten": _flatten,
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
    "transpose": _transpose,
    "pixel_shuffle": either_order(_pixel_shuffle),
    "pixel_unshuffle": either_order(_pixel_unshuffle),
    "channel_shuffle": either_order(_channel_shuffle),
}
OPS.update({f"{kind}_": OPS[kind] for kind in ("reshape", "flatten", "squeeze", "unsqueeze")})
