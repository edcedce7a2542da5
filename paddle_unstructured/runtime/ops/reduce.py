# SPDX-License-Identifier: Apache-2.0
"""Pooling, reductions, softmax."""

from __future__ import annotations

from typing import Any

from ..net import Layer
from ..plan import Window
from ..reader import Reader, Results
from ..slots import only
from ..views import Axis, View, axis_of, known
from .common import Converter, Made, attributes_of, axis_numbers, either_order, require, shape_of
from .convolution import window_of, windowed
from .cut import chosen
from .elementwise import pair, truth


def _pool(reader: Reader, op: Any) -> Made:
    attributes, view = attributes_of(op), reader.view(op, 0)
    average, size = attributes["pooling_type"] == "avg", [int(each) for each in reader.constant(op, 1).ravel()]
    if attributes["global_pooling"] or (attributes["adaptive"] and size == [1, 1]):
        return reduced(reader, view, [2, 3], "mean" if average else "max", keep=True)
    source = reader.frames(view)
    if attributes["adaptive"]:
        return _adaptive_pool(reader, op, source, attributes["pooling_type"], size)
    window = window_of(attributes, (size[0], size[1]), shape_of(op))
    pads, same = window.pad, attributes.get("padding_algorithm") == "SAME"
    require(
        average is False or attributes["exclusive"] or not (same or pads[0] != pads[1] or pads[2] != pads[3]),
        "a mean over uneven padding is not known",
    )
    ceil = 0 if same else int(attributes["ceil_mode"])
    words: dict[str, int | str] = {
        "type": attributes["pooling_type"],
        "ceil": ceil,
        "exclusive": int(attributes["exclusive"]),
    }
    layer = Layer("pool", (source.layer,), window=window, words=words)
    return windowed(reader, op, source, layer, window, channels=source.axes[1], ceil=bool(ceil))


def _max_pool_with_index(reader: Reader, op: Any) -> Made:
    """A maximum, and its place in the plane if somebody reads that."""
    attributes, source = op.attrs(), reader.planes(reader.view(op, 0))
    size, pads, places = list(attributes["kernel_size"]), list(attributes["paddings"]), op.result(1).all_used_ops()
    special = attributes["global_pooling"] or attributes["adaptive"]
    require(not (special and places), "the places of maxima of an adaptive pool are not known")
    if attributes["global_pooling"]:
        return Results((reduced(reader, source, [2, 3], "max", keep=True), None))
    if attributes["adaptive"]:
        return Results((_adaptive_pool(reader, op, source, "max", size), None))
    window = Window((size[0], size[1]), tuple(attributes["strides"]), (pads[0], pads[0], pads[1], pads[1]))
    ceil = bool(attributes["ceil_mode"])
    words: dict[str, int | str] = {"type": "max", "ceil": int(ceil), "exclusive": 1}
    made = [
        windowed(reader, op, source, layer, window, channels=source.axes[1], ceil=ceil)
        for layer in (Layer(kind, (source.layer,), window=window, words=words) for kind in ("pool", "place"))
    ]
    return Results((made[0], made[1] if places else None))


def _unpool(reader: Reader, op: Any) -> Made:
    """Numbers back at the places that a pool said, zeros elsewhere."""
    source, places = (reader.planes(reader.view(op, i)) for i in (0, 1))
    size = [int(each) for each in reader.constant(op, 2).ravel()[-2:]]
    require(op.attrs().get("data_format", "NCHW") == "NCHW" and min(size) > 0, "only a known size is known")
    layer = Layer("unpool", (source.layer, places.layer), words={"size": f"{size[0]},{size[1]}"})
    height, width = map(axis_of, size)
    return View(layer, (*source.axes[:2], height, width), source.channels, height, width)


def _adaptive_pool(reader: Reader, op: Any, source: View, kind: str, size: list[int]) -> View:
    shape = shape_of(op)
    if min(shape[2:]) > 0 and shape[2] % size[0] == 0 and shape[3] % size[1] == 0:
        steps = shape[2] // size[0], shape[3] // size[1]
        window = Window(steps, steps)
        words: dict[str, int | str] = {"type": kind, "ceil": 0, "exclusive": 1}
        if window.fits:
            layer = Layer("pool", (source.layer,), window=window, words=words)
            return windowed(reader, op, source, layer, window, channels=source.axes[1])
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
        if gone <= {*view.channels} and any(atom.is_open for atom in view.pixels) and kind in _CHAINED:
            return _chained(reader, view, axes, kind, keep=keep)
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


_CHAINED = {"sum": "add", "mean": "add", "max": "maximum", "min": "minimum", "product": "multiply"}


def _chained(reader: Reader, view: View, axes: list[int], kind: str, *, keep: bool) -> View:
    """A few slices of the channels, one after the other: their pixels stay where they are, whose sizes are open."""
    count = 1
    for i in sorted(axes, reverse=True):
        extent = known(view.axes[i]) or 1
        require(extent <= 16, "it goes over some of the channels, beside pixels of open sizes")
        total = chosen(reader, view, i, 0)
        for k in range(1, extent):
            total = pair(reader, _CHAINED[kind], total, chosen(reader, view, i, k))
        view, count = total.with_axes([*total.axes[:i], (), *total.axes[i:]]), count * extent
    if kind == "mean":
        view = view.of(Layer("activation", (view.layer,), act=f"linear:{1 / count!r}:0.0"))
    return view if keep else view.with_axes([axis for i, axis in enumerate(view.axes) if i not in axes])


def _reduction(kind: str) -> Converter:
    def convert(reader: Reader, op: Any) -> Made:
        view, attributes = reader.view(op, 0), op.attrs()
        given = reader.constant(op, 1) if len(op.operands_source()) > 1 else attributes.get("axis", [])
        axes = axis_numbers(view, given) or list(range(view.rank))
        return reduced(reader, view, axes, kind, keep=bool(attributes.get("keepdim", attributes.get("keep_dim"))))

    return convert


def _truth(kind: str) -> Converter:
    """Whether any, or all, are not 0."""

    def convert(reader: Reader, op: Any) -> Made:
        view, attributes = truth(reader, op, 0), op.attrs()
        axes = axis_numbers(view, attributes.get("axis", [])) or list(range(view.rank))
        return reduced(reader, view, axes, kind, keep=bool(attributes.get("keepdim")))

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


def _logsumexp(reader: Reader, op: Any) -> Made:
    """log(sum(exp(x - m))) + m, where m is the maximum."""
    view, attributes = reader.view(op, 0), op.attrs()
    axes = axis_numbers(view, attributes["axis"])
    require(not attributes.get("reduce_all") and axes, "it goes over the batch")
    most = reduced(reader, view, axes, "max", keep=True)
    powers = pair(reader, "subtract", view, most)
    powers = powers.of(Layer("activation", (powers.layer,), act="exp"))
    total = reduced(reader, powers, axes, "sum", keep=True)
    made = pair(reader, "add", total.of(Layer("activation", (total.layer,), act="log")), most)
    return made if attributes["keepdim"] else made.with_axes([a for i, a in enumerate(made.axes) if i not in axes])


OPS: dict[str, Converter] = {
    "logsumexp": _logsumexp,
    "maxout": _maxout,
    "p_norm": _p_norm,
    "pool2d": either_order(_pool),
    "max_pool2d_with_index": _max_pool_with_index,
    "unpool": _unpool,
    "mean": _reduction("mean"),
    "sum": _reduction("sum"),
    "max": _reduction("max"),
    "amax": _reduction("max"),
    "min": _reduction("min"),
    "amin": _reduction("min"),
    "prod": _reduction("product"),
    "any": _truth("max"),
    "all": _truth("min"),
    "softmax": _softmax,
    "softmax_": _softmax,
    "log_softmax": _softmax,
    "argmax": _arg("max"),
    "argmin": _arg("min"),
}
