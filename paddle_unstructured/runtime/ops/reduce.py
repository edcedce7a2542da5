# SPDX-License-Identifier: Apache-2.0
"""Pooling, reductions, softmax."""

from __future__ import annotations

from typing import Any

from ..net import Layer
from ..plan import Window
from ..reader import Reader, Results
from ..slots import only
from ..views import Axis, View, axis_of, known
from .common import Converter, Made, attributes_of, axis_numbers, require, shape_of
from .convolution import pads_of, windowed


def _pool(reader: Reader, op: Any) -> Made:
    attributes, view = attributes_of(op), reader.view(op, 0)
    average, size = attributes["pooling_type"] == "avg", [int(each) for each in reader.constant(op, 1).ravel()]
    if attributes["global_pooling"] or (attributes["adaptive"] and size == [1, 1]):
        return reduced(reader, view, [2, 3], "mean" if average else "max", keep=True)
    source = reader.planes(view)
    if attributes["adaptive"]:
        return _adaptive_pool(reader, op, source, attributes["pooling_type"], size)
    pads = pads_of(attributes, (size[0], size[1]), shape_of(op))
    require(
        average is False or attributes["exclusive"] or (pads[0] == pads[1] and pads[2] == pads[3]),
        "a mean over uneven padding is not known",
    )
    words: dict[str, int | str] = {
        "type": attributes["pooling_type"],
        "ceil": int(attributes["ceil_mode"]),
        "exclusive": int(attributes["exclusive"]),
    }
    window = Window((size[0], size[1]), tuple(attributes["strides"]), pads)
    layer = Layer("pool", (source.layer,), window=window, words=words)
    return windowed(reader, op, source, layer, window, channels=source.channels, ceil=bool(attributes["ceil_mode"]))


def _max_pool_with_index(reader: Reader, op: Any) -> Made:
    """A maximum whose places nobody reads, as adaptive pools are written."""
    attributes, source = op.attrs(), reader.planes(reader.view(op, 0))
    require(not op.result(1).all_used_ops(), "the places of maxima are not known")
    size, pads = list(attributes["kernel_size"]), list(attributes["paddings"])
    if attributes["global_pooling"]:
        return Results((reduced(reader, source, [2, 3], "max", keep=True), None))
    if attributes["adaptive"]:
        return Results((_adaptive_pool(reader, op, source, "max", size), None))
    window = Window((size[0], size[1]), tuple(attributes["strides"]), (pads[0], pads[0], pads[1], pads[1]))
    ceil = bool(attributes["ceil_mode"])
    layer = Layer("pool", (source.layer,), window=window, words={"type": "max", "ceil": int(ceil), "exclusive": 1})
    return Results((windowed(reader, op, source, layer, window, channels=source.channels, ceil=ceil), None))


def _adaptive_pool(reader: Reader, op: Any, source: View, kind: str, size: list[int]) -> View:
    shape = shape_of(op)
    if min(shape[2:]) > 0 and shape[2] % size[0] == 0 and shape[3] % size[1] == 0:
        steps = shape[2] // size[0], shape[3] // size[1]
        window = Window(steps, steps)
        words: dict[str, int | str] = {"type": kind, "ceil": 0, "exclusive": 1}
        if max(steps) <= 31:
            layer = Layer("pool", (source.layer,), window=window, words=words)
            return windowed(reader, op, source, layer, window, channels=source.channels)
    layer = Layer("adaptive_pool", (source.layer,), words={"type": kind, "size": f"{size[0]},{size[1]}"})
    height, width = axis_of(size[0]), axis_of(size[1])
    return View(layer, (*source.axes[:2], height, width), source.channels, height, width)


def reduced(reader: Reader, view: View, axes: list[int], kind: str, *, keep: bool) -> View:
    """A mean, sum, maximum, minimum or product over some axes, which become 1 or go."""
    gone = {atom for i in axes for atom in view.axes[i]}
    require(reader.batch not in gone, "it goes over the batch")
    slots = {name for name in ("channels", "height", "width") if getattr(view, name)}
    whole = [name for name in slots if {*getattr(view, name)} <= gone]
    if not only(tuple(atom for name in whole for atom in getattr(view, name)), tuple(gone)):
        rest = tuple(a for a in (*view.channels, *view.pixels) if a not in gone)
        order = tuple(a for a in (*view.channels, *view.pixels) if a in gone)
        view, whole = reader.arranged(view, channels=rest, pixels=order), ["height", "width"]
    if kind == "mean" and only(view.pixels, tuple(gone)) and view.pixels:
        layer = Layer("global_pool", (view.layer,))
    elif gone:
        over = ",".join(name for name in ("channels", "height", "width") if name in whole)
        layer = Layer("reduce", (view.layer,), words={"type": kind, "over": over})
    else:
        layer = view.layer

    def left(axis: Axis) -> Axis:
        return tuple(atom for atom in axis if atom not in gone)

    made = View(layer, tuple(map(left, view.axes)), left(view.channels), left(view.height), left(view.width))
    return made if keep else made.with_axes([axis for i, axis in enumerate(made.axes) if i not in axes])


def _reduction(kind: str) -> Converter:
    def convert(reader: Reader, op: Any) -> Made:
        view, attributes = reader.view(op, 0), op.attrs()
        given = reader.constant(op, 1) if len(op.operands_source()) > 1 else attributes.get("axis", [])
        axes = axis_numbers(view, given) or list(range(view.rank))
        return reduced(reader, view, axes, kind, keep=bool(attributes.get("keepdim", attributes.get("keep_dim"))))

    return convert


def along(reader: Reader, view: View, i: int) -> tuple[View, str]:
    """A view in which axis i is all of the channels, of a row (width), or of the pixels; and which of these."""
    axis = view.axes[i]
    require(reader.batch not in axis, "it goes over the batch")
    for name in ("channels", "width", "pixels"):
        if getattr(view, name) == axis:
            return view, "width" if name == "pixels" and not view.height else name
    rest = [tuple(a for a in slot if a not in axis) for slot in (view.channels, view.height, view.width)]
    return reader.arranged(view, channels=rest[0], height=(*rest[1], *rest[2]), width=axis), "width"


def _softmax(reader: Reader, op: Any) -> Made:
    view, axis = reader.view(op, 0), op.attrs()["axis"]
    view, over = along(reader, view, axis % view.rank)
    log = {"log": 1} if op.name().endswith("log_softmax") else {}
    vector = not view.pixels and over == "channels"
    return view.of(Layer("softmax", (view.layer,), words={**({} if vector else {"over": over}), **log}))


def _arg(kind: str) -> Converter:
    def convert(reader: Reader, op: Any) -> Made:
        view, attributes = reader.view(op, 0), op.attrs()
        require(not attributes.get("flatten"), "it goes over the batch")
        i = int(reader.constant(op, 1).ravel()[0]) % view.rank
        require(known(view.axes[i]) != 1, "it goes over an axis of 1")
        view, over = along(reader, view, i)
        gone = {*view.axes[i]}

        def left(axis: Axis) -> Axis:
            return tuple(atom for atom in axis if atom not in gone)

        layer = Layer("arg", (view.layer,), words={"type": kind, "over": over})
        made = View(layer, tuple(map(left, view.axes)), left(view.channels), left(view.height), left(view.width))
        keep = attributes.get("keepdims")
        return made if keep else made.with_axes([axis for k, axis in enumerate(made.axes) if k != i])

    return convert


def _maxout(reader: Reader, op: Any) -> Made:
    view, groups, axis = reader.view(op, 0), op.attrs()["groups"], op.attrs()["axis"]
    i, shape = axis % view.rank, view.shape
    split = reader.reshaped(view, [*shape[:i], shape[i] // groups, groups, *shape[i + 1 :]])
    return reduced(reader, split, [i + 1], "max", keep=False)


def _p_norm(reader: Reader, op: Any) -> Made:
    attributes, view = op.attrs(), reader.view(op, 0)
    order = attributes["porder"]
    require(order in (1.0, 2.0) and not attributes["asvector"], f"a norm of order {order} is not known")
    powers = view.of(Layer("activation", (view.layer,), act="square" if order == 2 else "abs"))
    total = reduced(reader, powers, [attributes["axis"] % view.rank], "sum", keep=attributes["keepdim"])
    return total.of(Layer("activation", (total.layer,), act="sqrt")) if order == 2 else total


OPS: dict[str, Converter] = {
    "maxout": _maxout,
    "p_norm": _p_norm,
    "pool2d": _pool,
    "max_pool2d_with_index": _max_pool_with_index,
    "mean": _reduction("mean"),
    "sum": _reduction("sum"),
    "max": _reduction("max"),
    "amax": _reduction("max"),
    "min": _reduction("min"),
    "amin": _reduction("min"),
    "prod": _reduction("product"),
    "softmax": _softmax,
    "softmax_": _softmax,
    "log_softmax": _softmax,
    "argmax": _arg("max"),
    "argmin": _arg("min"),
}
