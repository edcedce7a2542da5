# SPDX-License-Identifier: Apache-2.0
"""Convolutions and linear layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..net import Layer, ungrouped
from ..plan import Window
from ..reader import Reader
from ..views import OPEN, Axis, View, axis_of, known
from .common import Converter, Made, attributes_of, either_order, require, shape_of
from .cut import cut


def window_of(attributes: dict[str, Any], kernel: tuple[int, int], shape: list[int], dilation: Any = (1, 1)) -> Window:
    """The window of a convolution or a pool, whatever algorithm says its padding.

    Args:
        attributes: of the op.
        kernel: rows and columns of the window.
        shape: of the activation, [n, channels, height, width].
        dilation: of the window.
    """
    algorithm, strides = attributes.get("padding_algorithm", "EXPLICIT"), tuple(attributes["strides"])
    if algorithm == "SAME":  # Paddle takes the dilation to be 1 then
        sides = [same_padding(*each) for each in zip(kernel, strides, shape[2:])]
        if None in sides:
            return Window(kernel, strides, same=True)
        return Window(kernel, strides, (*(sides[0] or ()), *(sides[1] or ())))
    return Window(kernel, strides, pads_of(attributes), tuple(dilation))


def pads_of(attributes: dict[str, Any]) -> tuple[int, int, int, int]:
    """Padding (top, bottom, left, right) that does not depend on a size."""
    pads = list(attributes["paddings"])
    if attributes.get("padding_algorithm") == "VALID":
        return 0, 0, 0, 0
    return (pads[0], pads[1], pads[2], pads[3]) if len(pads) == 4 else (pads[0], pads[0], pads[1], pads[1])


def same_padding(kernel: int, stride: int, size: int) -> tuple[int, int] | None:
    """Padding before and behind; None if it depends on a size that is open."""
    if size < 0 and stride > 1 and kernel > 1:
        return None
    wanted = max(0, kernel - 1 if size < 0 else (-(-size // stride) - 1) * stride + kernel - size)
    return wanted // 2, wanted - wanted // 2


def window_axis(reader: Reader, axis: Axis, window: Window, side: int, *, ceil: bool = False, extent: int) -> Axis:
    """The axis that a window makes of rows (side 0) or columns (1); the same atoms where the size stays."""
    kernel, stride, dilation = window.kernel[side], window.stride[side], window.dilation[side]
    padding = sum(window.pad[2 * side : 2 * side + 2])
    if stride == 1 and (window.same or padding == (kernel - 1) * dilation):
        return axis
    if window.same:
        return reader.grown(("same", axis, stride), extent)
    return reader.grown(("window", axis, kernel, stride, dilation, padding, ceil), extent)


def windowed(
    reader: Reader, op: Any, source: View, layer: Layer, window: Window, *, channels: Axis, ceil: bool = False
) -> View:
    """What a layer with a window makes of planes, those of several frames perhaps.

    Args:
        reader: knows the activations.
        op: what is read.
        source: planes.
        layer: layer that makes it.
        window: window of the layer.
        channels: those that it makes of each frame.
        ceil: whether the last window may reach beyond the padding.
    """
    shape, frames = list(op.result(0).shape), source.axes[0]
    height = window_axis(reader, source.height, window, 0, ceil=ceil, extent=shape[2])
    width = window_axis(reader, source.width, window, 1, ceil=ceil, extent=shape[3])
    inside = tuple(atom for atom in frames if atom is not reader.batch)
    return View(layer, (frames, channels, height, width), (*inside, *channels), height, width)


def _conv(reader: Reader, op: Any) -> Made:
    attributes, weight = attributes_of(op), reader.constant(op, 1).astype(np.float64)
    source, kernel, groups = reader.view(op, 0), (weight.shape[2], weight.shape[3]), attributes["groups"]
    window = window_of(attributes, kernel, shape_of(op), attributes["dilations"])
    if len(source.axes[0]) > 1:
        return _of_frames(reader, op, weight, window, groups)
    if window == Window() and source.axes[1:2] != (source.channels,):  # its pixels need not lie in any order
        return _pixel_by_pixel(reader, op, source, weight, groups)
    source, weight = _channels_as_they_lie(reader, source, weight, groups)
    layer = Layer("conv", (source.layer,), reader.name(op, 1), weight, np.zeros(len(weight)), window, groups)
    return windowed(reader, op, source, layer, window, channels=axis_of(len(weight)))


def _of_frames(reader: Reader, op: Any, weight: np.ndarray, window: Window, groups: int) -> View:
    """The same convolution of each frame of a sample: it moves along the channels, where the frames lie."""
    source, outputs = reader.frames(reader.view(op, 0)), axis_of(len(weight))
    whole = ungrouped(weight, groups)
    words: dict[str, int | str] = {"step": whole.shape[1]}
    layer = Layer("conv", (source.layer,), reader.name(op, 1), whole, np.zeros(len(whole)), window, words=words)
    return windowed(reader, op, source, layer, window, channels=outputs)


def _pixel_by_pixel(reader: Reader, op: Any, view: View, weight: np.ndarray, groups: int) -> View:
    """A 1x1 convolution."""
    moved, ordered = _with_ordered_channels(view, weight, groups)
    source, outputs = reader.tokens(moved, [1]), axis_of(len(weight))
    layer = Layer("conv", (source.layer,), reader.name(op, 1), ordered, np.zeros(len(weight)), groups=groups)
    return View(layer, (view.axes[0], outputs, *view.axes[2:]), outputs, source.height, source.width)


def _transposed(reader: Reader, op: Any) -> Made:
    """A transposed convolution as one convolution that makes all s*s phases of its output, which are then woven.

    Output pixel y of the whole (before the padding is cut off) is s*q + r: phase r of pixel q, which sums
    input[q - j] * weight[s*j + r] over j.
    """
    attributes, weight = attributes_of(op), reader.constant(op, 1).astype(np.float64)  # [inputs, outputs/groups, ...]
    require(attributes.get("padding_algorithm", "EXPLICIT") != "SAME", "padding_algorithm SAME is not known here")
    weight = _dilated(weight, attributes["dilations"])
    strides, groups = attributes["strides"], attributes["groups"]
    source = reader.planes(reader.view(op, 0))
    pads = pads_of(attributes)
    extra = _extra(op, attributes, weight.shape[2:], pads)
    taps = [-(-size // step) for size, step in zip(weight.shape[2:], strides)]
    phases = _phases(weight, strides, taps, groups)
    more = [
        max(0, -(-(each - step * taps_ + size) // step))
        for each, step, taps_, size in zip(extra, strides, taps, weight.shape[2:])
    ]
    window = Window((taps[0], taps[1]), pad=(taps[0] - 1, taps[0] - 1 + more[0], taps[1] - 1, taps[1] - 1 + more[1]))
    layer = Layer("conv", (source.layer,), reader.name(op, 1), phases, np.zeros(len(phases)), window, groups)
    outputs = axis_of(len(phases) // (strides[0] * strides[1]))
    steps = [axis_of(step) for step in strides]
    height, width = (
        reader.grown(
            ("phases", axis, taps[i], more[i]),
            OPEN if known(axis) is None else (known(axis) or 1) + taps[i] - 1 + more[i],
        )
        for i, axis in enumerate((source.height, source.width))
    )
    view = View(
        layer,
        ((reader.batch,), outputs, (*height, *steps[0]), (*width, *steps[1])),
        (*outputs, *steps[0], *steps[1]),
        height,
        width,
    )
    view = reader.planes(view)
    for i, axis in enumerate((source.height, source.width)):
        first, size = pads[2 * i], known(axis)
        whole = (taps[i] - 1 + more[i]) * strides[i]  # beyond s * h
        last = whole - (weight.shape[2 + i] - strides[i] + extra[i] - pads[2 * i + 1])
        stop = size * strides[i] + whole - last if size is not None else (-last if last else 1 << 24)
        view = cut(reader, view, 2 + i, first, stop)
    return view


def _dilated(weight: np.ndarray, dilations: list[int]) -> np.ndarray:
    """The same filter with zeros between its taps."""
    rows, columns = ((size - 1) * step + 1 for size, step in zip(weight.shape[2:], dilations))
    spread = np.zeros((*weight.shape[:2], rows, columns))
    spread[:, :, :: dilations[0], :: dilations[1]] = weight
    return spread


def _extra(op: Any, attributes: dict[str, Any], kernel: tuple[int, ...], pads: tuple[int, ...]) -> list[int]:
    """Rows and columns of the output beyond the smallest one that the input has: `output_padding` or a given size."""
    given, result = shape_of(op), list(op.result(0).shape)
    extra = list(attributes.get("output_padding") or [0, 0])
    for i in (0, 1):
        if given[2 + i] > 0 and result[2 + i] > 0:
            least = (given[2 + i] - 1) * attributes["strides"][i] - pads[2 * i] - pads[2 * i + 1] + kernel[i]
            extra[i] = result[2 + i] - least
    return [int(each) for each in extra]


def _phases(weight: np.ndarray, strides: list[int], taps: list[int], groups: int) -> np.ndarray:
    """[inputs, outputs/groups, kernel] as [outputs * s * s, inputs/groups, taps], by output and then by phase."""
    inputs, outputs = weight.shape[0] // groups, weight.shape[1]
    whole = np.zeros((*weight.shape[:2], taps[0] * strides[0], taps[1] * strides[1]))
    whole[:, :, : weight.shape[2], : weight.shape[3]] = weight
    split = whole.reshape(groups, inputs, outputs, taps[0], strides[0], taps[1], strides[1])[:, :, :, ::-1, :, ::-1]
    ordered = split.transpose(0, 2, 4, 6, 1, 3, 5)  # groups, outputs, phases, inputs, taps
    return np.ascontiguousarray(ordered.reshape(groups * outputs * strides[0] * strides[1], inputs, *taps))


def _channels_as_they_lie(reader: Reader, view: View, weight: np.ndarray, groups: int) -> tuple[View, np.ndarray]:
    """The source of a convolution; where only its channels lie in another order, the weights take that order."""
    moved, weight = _with_ordered_channels(view, weight, groups)
    return reader.planes(moved), weight


def _with_ordered_channels(view: View, weight: np.ndarray, groups: int) -> tuple[View, np.ndarray]:
    if groups > 1 or view.rank != 4 or view.channels == view.axes[1] or {*view.channels} != {*view.axes[1]}:
        return view, weight
    order = np.arange(weight.shape[1]).reshape([atom.extent for atom in view.axes[1]])
    order = order.transpose([view.axes[1].index(atom) for atom in view.channels]).ravel()
    return view.with_axes([view.axes[0], view.channels, *view.axes[2:]]), weight[:, order]


def linear(reader: Reader, op: Any) -> View:
    """[..., inputs] times a weight [inputs, outputs]: a 1x1 convolution whose pixels are the tokens."""
    attributes, view = op.attrs(), reader.view(op, 0)
    weight = reader.constant(op, 1).astype(np.float64)
    require(
        weight.ndim == 2 and not attributes.get("transpose_x") and view.rank > 1,
        f"only [..., inputs] times [inputs, outputs] is known, got {shape_of(op)} times {list(weight.shape)}",
    )
    weight = (weight if attributes.get("transpose_y") else weight.T)[:, :, None, None]
    source, outputs = reader.tokens(view, [-1]), axis_of(len(weight))
    kind = "conv" if source.pixels else "linear"
    layer = Layer(kind, (source.layer,), reader.name(op, 1), weight, np.zeros(len(weight)))
    return View(layer, (*source.axes[:-1], outputs), outputs, source.height, source.width)


OPS: dict[str, Converter] = {
    "conv2d": either_order(_conv),
    "depthwise_conv2d": either_order(_conv),
    "conv2d_transpose": either_order(_transposed),
    "depthwise_conv2d_transpose": either_order(_transposed),
}
