# SPDX-License-Identifier: Apache-2.0
"""Three-dimensional convolutions and pools, [n, channels, depth, height, width], from those of planes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..net import Layer, affine, ungrouped
from ..plan import Window
from ..reader import Reader
from ..refusals import Refusal
from ..views import Axis, View, axis_of, known
from .common import Converter, Made, attributes_of, either_order, require
from .convolution import same_padding, window_axis
from .cut import cut
from .elementwise import pair
from .reduce import reduced


def _pads(attributes: dict[str, Any], kernel: Any, view: View) -> list[tuple[int, int]]:
    if attributes.get("padding_algorithm", "EXPLICIT") == "SAME":
        attributes["dilations"] = [1, 1, 1]  # as Paddle has it
        sizes = [known(axis) or -1 for axis in view.axes[2:]]
        sides = [same_padding(*each) for each in zip(kernel, attributes["strides"], sizes)]
        require(None not in sides, "padding_algorithm SAME of a volume with open sizes is not known")
        return [side for side in sides if side is not None]
    pads = [0] * 3 if attributes.get("padding_algorithm") == "VALID" else list(attributes["paddings"])
    return [(pads[2 * i], pads[2 * i + 1]) for i in range(3)] if len(pads) == 6 else [(pad, pad) for pad in pads]


def _depth(view: View) -> int:
    depth = known(view.axes[2])
    if depth is None:
        raise Refusal("a volume of open depth is not known")
    return depth


def _conv3d(reader: Reader, op: Any) -> Made:
    """Each slice of the output is a convolution of planes over the slices that it sees, as more channels."""
    attributes = attributes_of(op)
    weight = ungrouped(reader.constant(op, 1).astype(np.float64), attributes["groups"])
    view = reader.view(op, 0)
    pads = _pads(attributes, weight.shape[2:], view)
    if known(view.axes[2]) is None:
        return _of_open_depth(reader, op, view, weight, attributes, pads)
    depth, strides, dilations = _depth(view), attributes["strides"], attributes["dilations"]
    source = reader.by_axes(view, [2, 1], [3], [4])  # the channels of a slice lie together
    window = Window(weight.shape[3:], tuple(strides[1:]), (*pads[1], *pads[2]), tuple(dilations[1:]))
    shape = list(op.result(0).shape)
    height = window_axis(reader, source.height, window, 0, extent=shape[3])
    width = window_axis(reader, source.width, window, 1, extent=shape[4])
    outputs = axis_of(len(weight))
    made = [
        _slice(reader, op, source, weight, window, depth=at * strides[0] - pads[0][0], step=dilations[0])
        for at in range((depth + sum(pads[0]) - (weight.shape[2] - 1) * dilations[0] - 1) // strides[0] + 1)
    ]
    views = [View(layer, ((reader.batch,), outputs, (), height, width), outputs, height, width) for layer in made]
    return _stacked(views, outputs)


def _of_open_depth(
    reader: Reader, op: Any, view: View, weight: np.ndarray, attributes: dict[str, Any], pads: list[tuple[int, int]]
) -> View:
    """A convolution of planes that moves along the slices, which lie one behind the other in the channels."""
    taps, strides, dilations = weight.shape[2], attributes["strides"], attributes["dilations"]
    require(taps == 1 or dilations[0] == 1, "slices with a dilation of a volume of open depth are not known")
    source = reader.by_axes(view, [2, 1], [3], [4])
    if pads[0] != (0, 0):
        before, after = (pad * weight.shape[1] for pad in pads[0])
        sides: dict[str, int | str] = {"before": f"{before},0,0", "after": f"{after},0,0", "mode": "constant"}
        source = source.of(Layer("pad", (source.layer,), words=sides))
    window = Window(weight.shape[3:], tuple(strides[1:]), (*pads[1], *pads[2]), tuple(dilations[1:]))
    stacked = weight.transpose(0, 2, 1, 3, 4).reshape(len(weight), -1, *weight.shape[3:])
    words: dict[str, int | str] = {"step": strides[0] * weight.shape[1]}
    layer = Layer("conv", (source.layer,), reader.name(op, 1), stacked, np.zeros(len(weight)), window, words=words)
    shape, outputs = list(op.result(0).shape), axis_of(len(weight))
    height, width = (
        window_axis(reader, axis, window, i, extent=shape[3 + i])
        for i, axis in enumerate((source.height, source.width))
    )
    along = Window((taps, 1), (strides[0], 1), (*pads[0], 0, 0))
    depth = window_axis(reader, view.axes[2], along, 0, extent=shape[2])
    return View(layer, ((reader.batch,), outputs, depth, height, width), (*depth, *outputs), height, width)


def _slice(
    reader: Reader, op: Any, source: View, weight: np.ndarray, window: Window, *, depth: int, step: int
) -> Layer:
    seen = [(tap, depth + tap * step) for tap in range(weight.shape[2]) if 0 <= depth + tap * step < _depth(source)]
    require(seen, "a slice of the output sees nothing but padding")
    first, last = seen[0][1], seen[-1][1]
    part = reader.by_axes(cut(reader, source, 2, first, last + 1), [2, 1], [3], [4])
    taps = np.zeros((len(weight), last + 1 - first, weight.shape[1], *weight.shape[3:]))  # as the channels lie
    for tap, place in seen:
        taps[:, place - first] = weight[:, :, tap]
    whole = taps.reshape(len(weight), -1, *weight.shape[3:])
    return Layer("conv", (part.layer,), reader.name(op, 1), whole, np.zeros(len(whole)), window)


def _stacked(views: list[View], outputs: Axis) -> View:
    """Slices of a volume, one behind the other in the channels."""
    like, slices = views[0], axis_of(len(views))
    layer = Layer("concat", tuple(view.layer for view in views)) if len(views) > 1 else like.layer
    axes = (like.axes[0], outputs, slices, *like.axes[3:])
    return View(layer, axes, (*slices, *outputs), like.height, like.width)


def _pool3d(reader: Reader, op: Any) -> Made:
    """A pool of planes, then one along the depth."""
    attributes, view = attributes_of(op), reader.view(op, 0)
    if attributes["global_pooling"] or (attributes["adaptive"] and list(attributes["kernel_size"]) == [1, 1, 1]):
        return reduced(reader, view, [2, 3, 4], "mean" if attributes["pooling_type"] == "avg" else "max", keep=True)
    kernel, strides, kind = attributes["kernel_size"], attributes["strides"], attributes["pooling_type"]
    pads = _pads(attributes, kernel, view)
    if attributes["adaptive"]:
        sizes = [known(axis) or 0 for axis in view.axes[2:]]
        require(
            all(size % wanted == 0 for size, wanted in zip(sizes, kernel)), "sizes that do not divide are not known"
        )
        kernel = [size // wanted for size, wanted in zip(sizes, kernel)]
        strides, pads = kernel, [(0, 0)] * 3
    require(min(kernel) > 0, "it goes over an axis of open size")
    require(kind == "max" or not any(map(any, pads)), "a mean over a padded volume is not known")
    words: dict[str, int | str] = {"type": kind, "ceil": int(attributes["ceil_mode"]), "exclusive": 1}
    shape = list(op.result(0).shape)

    source = reader.by_axes(view, [1, 2], [3], [4])
    flat = Window((kernel[1], kernel[2]), (strides[1], strides[2]), (*pads[1], *pads[2]))
    height = window_axis(reader, source.height, flat, 0, ceil=attributes["ceil_mode"], extent=shape[3])
    width = window_axis(reader, source.width, flat, 1, ceil=attributes["ceil_mode"], extent=shape[4])
    planes = View(
        Layer("pool", (source.layer,), window=flat, words=words),
        (*source.axes[:3], height, width),
        source.channels,
        height,
        width,
    )
    if (kernel[0], strides[0], pads[0]) == (1, 1, (0, 0)):
        return planes
    return _deep(reader, planes, kind, kernel[0], strides[0], pads[0], shape[2])


def _deep(reader: Reader, view: View, kind: str, kernel: int, stride: int, pad: tuple[int, int], outputs: int) -> View:
    """A pool along the depth: slice by slice the maximum or the mean of those that it sees."""
    view = reader.by_axes(view, [2, 1], [3], [4])
    slices = [cut(reader, view, 2, at, at + 1) for at in range(_depth(view))]
    made = []
    for at in range(outputs):
        first = at * stride - pad[0]
        seen = slices[max(0, first) : first + kernel]
        require(seen, "a slice of the output sees nothing but padding")
        total = seen[0]
        for one in seen[1:]:
            total = pair(reader, "maximum" if kind == "max" else "add", total, one)
        if kind != "max" and len(seen) > 1:
            channels = [atom.extent for atom in total.channels]
            numbers = np.full(int(np.prod(channels)), 1 / len(seen))
            total = total.of(affine(total.layer, numbers, 0 * numbers, alone=False))
        made.append(View(total.layer, (*total.axes[:2], (), *total.axes[3:]), total.axes[1], total.height, total.width))
    return _stacked(made, view.axes[1])


OPS: dict[str, Converter] = {
    "conv3d": either_order(_conv3d),
    "pool3d": either_order(_pool3d),
}
