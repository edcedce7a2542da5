# SPDX-License-Identifier: Apache-2.0
"""Convolutions and linear layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..net import Layer
from ..plan import Window
from ..reader import Reader
from ..views import Atom, Axis, View
from .common import Converter, Made, attributes_of, require, shape_of


def pads_of(attributes: dict[str, Any], kernel: tuple[int, int], shape: list[int]) -> tuple[int, int, int, int]:
    """Padding (top, bottom, left, right), whatever algorithm says it.

    Args:
        attributes: of the op.
        kernel: rows and columns of the window.
        shape: of the activation, [n, channels, height, width].
    """
    algorithm, pads = attributes.get("padding_algorithm", "EXPLICIT"), list(attributes["paddings"])
    if algorithm == "VALID":
        return 0, 0, 0, 0
    if algorithm == "SAME":  # Paddle takes the dilation to be 1 then
        sides = [_same(*each) for each in zip(kernel, attributes["strides"], shape[2:])]
        return sides[0] + sides[1]
    return tuple(pads) if len(pads) == 4 else (pads[0], pads[0], pads[1], pads[1])


def _same(kernel: int, stride: int, size: int) -> tuple[int, int]:
    require(
        size > 0 or stride == 1 or kernel <= stride,
        "padding_algorithm SAME with a stride depends on the size of the input, which is open",
    )
    wanted = kernel - 1 if size < 0 else (-(-size // stride) - 1) * stride + kernel - size
    return max(0, wanted) // 2, max(0, wanted) - max(0, wanted) // 2


def window_axis(reader: Reader, axis: Axis, window: Window, side: int, *, ceil: bool = False, extent: int) -> Axis:
    """The axis that a window makes of rows (side 0) or columns (1); the same atoms where the size stays."""
    kernel, stride, dilation = window.kernel[side], window.stride[side], window.dilation[side]
    padding = sum(window.pad[2 * side : 2 * side + 2])
    if stride == 1 and padding == (kernel - 1) * dilation:
        return axis
    return reader.grown(("window", axis, kernel, stride, dilation, padding, ceil), extent)


def windowed(
    reader: Reader, op: Any, source: View, layer: Layer, window: Window, *, channels: Axis, ceil: bool = False
) -> View:
    """What a layer with a window makes of planes."""
    shape = list(op.result(0).shape)
    height = window_axis(reader, source.height, window, 0, ceil=ceil, extent=shape[2])
    width = window_axis(reader, source.width, window, 1, ceil=ceil, extent=shape[3])
    return View(layer, ((reader.batch,), channels, height, width), channels, height, width)


def _conv(reader: Reader, op: Any) -> Made:
    attributes, weight = attributes_of(op), reader.constant(op, 1).astype(np.float64)
    source, kernel, groups = reader.view(op, 0), (weight.shape[2], weight.shape[3]), attributes["groups"]
    pads = pads_of(attributes, kernel, shape_of(op))
    dilation = (1, 1) if attributes.get("padding_algorithm") == "SAME" else tuple(attributes["dilations"])
    window = Window(kernel, tuple(attributes["strides"]), pads, dilation)
    source, weight = _channels_as_they_lie(reader, source, weight, groups)
    layer = Layer("conv", (source.layer,), reader.name(op, 1), weight, np.zeros(len(weight)), window, groups)
    return windowed(reader, op, source, layer, window, channels=(Atom(len(weight)),))


def _channels_as_they_lie(reader: Reader, view: View, weight: np.ndarray, groups: int) -> tuple[View, np.ndarray]:
    """The source of a convolution; where only its channels lie in another order, the weights take that order."""
    if groups == 1 and view.rank == 4 and view.channels != view.axes[1] and {*view.channels} == {*view.axes[1]}:
        order = np.arange(weight.shape[1]).reshape([atom.extent for atom in view.axes[1]])
        order = order.transpose([view.axes[1].index(atom) for atom in view.channels]).ravel()
        moved = view.with_axes([view.axes[0], view.channels, *view.axes[2:]])
        return reader.planes(moved), weight[:, order]
    return reader.planes(view), weight


def linear(reader: Reader, op: Any) -> Made:
    """[..., inputs] times a weight [inputs, outputs]: a 1x1 convolution whose pixels are the tokens."""
    attributes, view = op.attrs(), reader.view(op, 0)
    weight = reader.constant(op, 1).astype(np.float64)
    require(
        weight.ndim == 2 and not attributes.get("transpose_x") and view.rank > 1,
        f"only [..., inputs] times [inputs, outputs] is known, got {shape_of(op)} times {list(weight.shape)}",
    )
    weight = (weight if attributes.get("transpose_y") else weight.T)[:, :, None, None]
    source, outputs = reader.tokens(view, [-1]), (Atom(len(weight)),)
    kind = "conv" if source.pixels else "linear"
    layer = Layer(kind, (source.layer,), reader.name(op, 1), weight, np.zeros(len(weight)))
    return View(layer, (*source.axes[:-1], outputs), outputs, source.height, source.width)


OPS: dict[str, Converter] = {
    "conv2d": _conv,
    "depthwise_conv2d": _conv,
}
