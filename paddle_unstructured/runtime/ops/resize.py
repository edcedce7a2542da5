# SPDX-License-Identifier: Apache-2.0
"""Planes of another size: interpolation and padding."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from ...graph.values import exists
from ..meet import constant_layer
from ..net import Layer
from ..reader import Reader
from ..resize import resized
from ..views import Axis, Size, View, axis_of, known
from .common import Converter, Made, attributes_of, either_order, number, require

_MODES = {"nearest": "nearest", "bilinear": "linear", "linear": "linear", "bicubic": "cubic"}


def _interpolation(reader: Reader, op: Any) -> Made:
    attributes = attributes_of(op)
    view = _constant_planes(reader.constant(op, 0)) if reader.is_constant(op, 0) else reader.view(op, 0)
    row = view.rank == 3  # linear_interp: [n, channels, width]
    if row:
        view = view.with_axes([*view.axes[:2], (), view.axes[2]])
    method = attributes["interp_method"]
    source = view if view.axes[0] == () else reader.planes(view)
    words: dict[str, int | str] = {
        "mode": _MODES[method],
        "align_corners": int(attributes["align_corners"]),
        "half_pixel": int(method == "bicubic" or attributes["align_mode"] == 0),
    }
    sizes, scale = _target(reader, op, attributes, row)
    made = resized(reader, source, words, sizes, scale)
    return made.with_axes([*made.axes[:2], made.axes[3]]) if row else made


def _constant_planes(constant: np.ndarray) -> View:
    """A table of positions, [1, channels, height, width], as an activation that is the same for all samples."""
    require(constant.ndim in (3, 4) and len(constant) == 1, "a constant of several samples is resized")
    shape = (*constant.shape[1:-1], *([1] if constant.ndim == 3 else []), constant.shape[-1])
    axes = [axis_of(extent) for extent in constant.shape[1:]]
    height = axes[1] if constant.ndim == 4 else ()
    return View(constant_layer(constant, shape), ((), *axes), axes[0], height, axes[-1])


def _target(
    reader: Reader, op: Any, attributes: dict[str, Any], row: bool
) -> tuple[list[Size] | None, list[float] | None]:
    """The size that is asked for, or else the scale; operands come before attributes."""
    given = [i for i in (1, 2, 3) if i < len(op.operands_source()) and exists(op.operand_source(i))]
    sizes = None
    if 2 in given:
        sizes = reader.sizes(op, 2)
    elif 1 in given:
        sizes = reader.sizes(op, 1)
    if sizes is not None:
        return ([1, *sizes] if row else sizes), None
    scale = [float(each) for each in (np.ravel(reader.constant(op, 3)) if 3 in given else attributes["scale"])]
    if any(each > 0 for each in scale):
        return None, [1.0, scale[-1]] if row else [scale[0], scale[-1]]
    return [1 if row else attributes["out_h"], attributes["out_w"]], None


def _pad(reader: Reader, op: Any) -> Made:
    """`pad`: numbers before and after each axis."""
    view, pads = reader.view(op, 0), op.attrs()["paddings"]
    sides = [(pads[2 * i], pads[2 * i + 1]) for i in range(view.rank)]
    require(sides[0] == (0, 0), "the batch is padded")
    value = number(reader, op, 1) if len(op.operands_source()) > 1 else float(op.attrs().get("pad_value", 0.0))
    return padded(reader, view, sides, "constant", value)


def _pad3d(reader: Reader, op: Any) -> Made:
    """`pad3d`: left, right, top, bottom, front, back of [n, channels, depth, height, width]."""
    attributes, view = attributes_of(op), reader.view(op, 0)
    pads = [int(size) for size in reader.sizes(op, 1)]
    sides = [(0, 0), (0, 0), (pads[4], pads[5]), (pads[2], pads[3]), (pads[0], pads[1])]
    return padded(reader, view, sides, attributes["mode"], float(attributes["pad_value"]))


def padded(reader: Reader, view: View, sides: Sequence[tuple[int, int]], mode: str, value: float) -> View:
    """More places before and after axes of a view.

    Args:
        view: activation.
        sides: how many before and after each axis; negative ones are cut off.
        mode: "constant", "reflect", "replicate" or "circular".
        value: of a constant.
    """
    padded_axes = [i for i, side in enumerate(sides) if side != (0, 0)]
    if not padded_axes:
        return view
    slots = _apart(reader, view, padded_axes)
    source = reader.arranged(view, channels=slots[0], height=slots[1], width=slots[2])
    before, after, made = [0, 0, 0], [0, 0, 0], list(slots)
    axes = list(source.axes)
    for i in padded_axes:
        place = next((k for k, slot in enumerate(slots) if slot and slot == source.axes[i]), None)
        if place is None:  # an axis of 1
            place = next(k for k in (1, 2, 0) if not made[k] and before[k] == after[k] == 0)
        before[place], after[place] = sides[i]
        extent = known(source.axes[i])
        key = ("pad", source.axes[i], sides[i])
        made[place] = reader.grown(key) if extent is None else axis_of(extent + sum(sides[i]))
        axes[i] = made[place]
    words: dict[str, int | str] = {"before": _said(before), "after": _said(after), "mode": mode}
    if mode == "constant" and value:
        words["value"] = repr(value)
    return View(Layer("pad", (source.layer,), words=words), tuple(axes), *made)


def _said(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))


def _apart(reader: Reader, view: View, padded_axes: Sequence[int]) -> list[Axis]:
    """An order in which every axis that is padded is a slot of its own."""
    slots = [view.channels, view.height, view.width]
    wanted = [view.axes[i] for i in padded_axes if view.axes[i]]
    if all(axis in slots for axis in wanted) and len(wanted) + sum(map(bool, slots)) - len(wanted) <= 3:
        empty = sum(not slot for slot in slots)
        if sum(not view.axes[i] for i in padded_axes) <= empty:
            return slots
    require(len(wanted) == len(padded_axes) and len(wanted) <= 2, "it pads more axes than a plane has")
    inside = {atom for axis in wanted for atom in axis}
    rest = tuple(atom for atom in (*view.channels, *view.pixels) if atom not in inside)
    return [rest, wanted[0] if len(wanted) == 2 else (), wanted[-1]]


OPS: dict[str, Converter] = {
    **{f"{mode}_interp": either_order(_interpolation) for mode in _MODES},
    "pad": _pad,
    "pad3d": either_order(_pad3d),
}
