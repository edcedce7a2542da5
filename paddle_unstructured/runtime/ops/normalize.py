# SPDX-License-Identifier: Apache-2.0
"""Norms."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...graph.values import exists
from ..meet import with_numbers
from ..net import Layer, affine, step_of
from ..reader import Reader
from ..views import View, known, spread_over
from .common import Converter, Made, attributes_of, either_order, folded_over, require


def _batch_norm(reader: Reader, op: Any) -> Made:
    attributes, view = attributes_of(op), reader.view(op, 0)
    require(attributes.get("is_test") or attributes.get("use_global_stats"), "it is in training mode")
    mean, variance = (reader.constant(op, i).astype(np.float64) for i in (1, 2))
    given, scale = (_given(reader, op, i) for i in (4, 3))
    shift = np.zeros_like(mean) if given is None else given
    scale = (1.0 if scale is None else scale) / np.sqrt(variance + attributes["epsilon"])
    over = folded_over(view, alone=reader.alone(op, 0))
    if over == view.axes[1] and step_of(view.layer):
        return view.of(affine(view.layer, scale, shift - mean * scale, alone=True))
    if not {*view.axes[1]} <= {*view.channels} or any(atom.is_open for atom in view.channels):
        view = reader.tokens(view, [1])
    across = [1] * (view.rank - 2)
    numbers = [spread_over(each.reshape(-1, *across), view, view.channels) for each in (scale, shift - mean * scale)]
    require(numbers[0] is not None and numbers[1] is not None, "its numbers are not one for each channel")
    return view.of(affine(view.layer, *map(np.asarray, numbers), alone=reader.alone(op, 0)))


def _given(reader: Reader, op: Any, i: int) -> np.ndarray | None:
    """An operand that is a constant, if the op has it."""
    sources = op.operands_source()
    return reader.constant(op, i).astype(np.float64) if i < len(sources) and exists(sources[i]) else None


def _over_axes(
    reader: Reader,
    view: View,
    first: int,
    scale: np.ndarray | None,
    shift: np.ndarray | None,
    words: dict[str, int | str],
) -> View:
    """A norm over the axes from `first` on; scale and shift have one number for each of their places."""
    axes = range(first % view.rank, view.rank)
    atoms = view.flat(axes)
    require(atoms and reader.batch not in atoms, "it goes over the batch, or over a single number")
    require(not any(atom.is_open for atom in atoms), "it goes over an axis of open size")
    shape = [known(axis) if i in axes else 1 for i, axis in enumerate(view.axes)]
    given = [None if each is None else each.reshape(shape) for each in (scale, shift)]
    if {*atoms} == {*view.channels, *view.pixels} and view.pixels:
        made = _norm(view, {**words, "over": "planes"}, None, None)
        for kind, numbers in zip(("multiply", "add"), given):
            made = made if numbers is None else with_numbers(kind, made, numbers)
        return made
    outer = view.channels[: -len(atoms)]
    if {*view.channels[-len(atoms) :]} != {*atoms} or any(atom.is_open for atom in outer):
        rest = tuple(atom for atom in (*view.channels, *view.pixels) if atom not in atoms)
        view, outer = reader.arranged(view, channels=atoms, pixels=rest), ()
    factor, offset = (None if each is None else spread_over(each, view, view.channels) for each in given)
    return _norm(view, {**words, "over": "channels", "groups": prod(atom.extent for atom in outer)}, factor, offset)


def _norm(view: View, words: dict[str, int | str], scale: np.ndarray | None, shift: np.ndarray | None) -> View:
    channels = prod(atom.extent for atom in view.channels)
    weight, bias = np.ones(channels) if scale is None else scale, np.zeros(channels) if shift is None else shift
    words = {"out": channels, "groups": 1, "center": 1, **words}
    return view.of(Layer("norm", (view.layer,), weight=weight, bias=bias, words=words))


def _layer_norm(reader: Reader, op: Any) -> Made:
    attributes = op.attrs()
    if reader.is_constant(op, 0):
        return _normed(reader, op)
    view = reader.view(op, 0)
    words: dict[str, int | str] = {"epsilon": repr(float(attributes["epsilon"]))}
    scale, shift = _given(reader, op, 1), _given(reader, op, 2)
    return _over_axes(reader, view, attributes["begin_norm_axis"], scale, shift, words)


def _normed(reader: Reader, op: Any) -> np.ndarray:
    """A constant, learned queries say."""
    given, first = reader.constant(op, 0).astype(np.float64), op.attrs()["begin_norm_axis"]
    axes = tuple(range(first % given.ndim, given.ndim))
    made = given - given.mean(axes, keepdims=True)
    made /= np.sqrt((made**2).mean(axes, keepdims=True) + op.attrs()["epsilon"])
    for i, change in ((1, np.multiply), (2, np.add)):
        numbers = _given(reader, op, i)
        made = made if numbers is None else change(made, numbers.reshape(given.shape[axes[0] :]))
    return np.asarray(made, np.float32)


def _rms_norm(reader: Reader, op: Any) -> Made:
    view, attributes = reader.view(op, 0), op.attrs()
    require(_given(reader, op, 1) is None and _given(reader, op, 2) is None, "a sum before it is not known")
    require(attributes.get("quant_scale", -1) <= 0, "rounding behind it is not known")
    words: dict[str, int | str] = {"epsilon": repr(float(attributes["epsilon"])), "center": 0}
    scale, shift = _given(reader, op, 3), _given(reader, op, 4)
    return _over_axes(reader, view, attributes["begin_norm_axis"], scale, shift, words)


def _group_norm(reader: Reader, op: Any) -> Made:
    attributes = op.attrs()
    last = attributes.get("data_format", "NCHW") in ("NHWC", "NLC", "NDHWC")
    return _over_planes(reader, op, -1 if last else 1, attributes["groups"])


def _instance_norm(reader: Reader, op: Any) -> Made:
    return _over_planes(reader, op, 1, None)


def _over_planes(reader: Reader, op: Any, axis: int, groups: int | None) -> View:
    """A norm over groups of channels and all their pixels; None: each channel by itself."""
    view = reader.tokens(reader.view(op, 0), [axis])
    words: dict[str, int | str] = {
        "over": "planes",
        "groups": groups or prod(atom.extent for atom in view.channels),
        "epsilon": repr(float(op.attrs()["epsilon"])),
    }
    return _norm(view, words, _given(reader, op, 1), _given(reader, op, 2))


OPS: dict[str, Converter] = {
    "layer_norm": _layer_norm,
    "fused_rms_norm_quant": _rms_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "batch_norm_": either_order(_batch_norm),
    "batch_norm": either_order(_batch_norm),
}
