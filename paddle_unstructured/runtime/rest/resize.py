# SPDX-License-Identifier: Apache-2.0
"""Planes of another size, as ONNX nodes: interpolation, padding, pixel shuffles."""

from __future__ import annotations

from typing import Sequence

from .builder import Builder, Converter, Op, channels_first, list_of, number, out, word

_MODES = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "trilinear": "linear", "bicubic": "cubic"}


def _interpolation(b: Builder, op: Op) -> None:
    """By a size that is read in the graph, or else by a scale, or else to a size that is fixed."""
    channels_first(op)
    x, rank, method = b.name(op["I"][0]["%"]), b.rank(op["I"][0]["%"]), word(op, "interp_method")
    corners, centres = word(op, "align_corners"), method == "bicubic" or word(op, "align_mode") == 0
    place = "align_corners" if corners else "half_pixel" if centres and method != "nearest" else "asymmetric"
    rounded = "round_prefer_ceil" if corners else "floor"
    words = {"mode": _MODES[method], "coordinate_transformation_mode": place, "cubic_coeff_a": -0.75}
    words |= {"nearest_mode": rounded} if method == "nearest" else {}
    fixed = [word(op, f"out_{axis}") for axis in "dhw"][-(rank - 2) :]
    scale = word(op, "scale") or []
    given = next((i for i in (2, 1) if i < len(op["I"]) and b.is_given(op, i)), None)
    if given is None and b.is_given(op, 3):
        factors = b.node("Expand", [b.name(op["I"][3]["%"]), b.constant([rank - 2])])[0]
        scales = b.node("Concat", [b.constant([1, 1], "float32"), factors], axis=0)
        b.node("Resize", [x, "", *scales], out(op), **words)
    elif given is None and scale:
        b.node("Resize", [x, "", b.constant([1, 1, *scale], "float32")], out(op), **words)
    else:
        sizes = b.constant(fixed) if given is None else list_of(b, op, given)
        whole = b.node("Concat", [b.dims(x, 0, 2), sizes], axis=0)
        # what ONNX Runtime guesses beforehand of sizes that are computed may be an empty list: it shall not guess
        known = whole if given is None else b.node("Where", [b.constant([True] * rank, "bool"), *whole, *whole])
        b.node("Resize", [x, "", "", *known], out(op), **words)


_PADS = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


def _padded(b: Builder, x: str, begins: Sequence[int], pads: str, mode: str, fill: str, to: list[str]) -> None:
    """Nodes that pad.

    Args:
        x: what is padded.
        begins: for each place of ONNX's list: which number of `pads` stands there; -1 for none.
        pads: list of sizes.
        mode: ONNX's word.
        fill: number that is put there, a scalar.
        to: names of the results.
    """
    none = b.node("Concat", [pads, b.constant([0])], axis=0)[0]
    count = b.node("Gather", [none, b.constant(begins)], axis=0)[0]
    b.node("Pad", [x, count, *([fill] if mode == "constant" else [])], to, mode=mode)


def _pad3d(b: Builder, op: Op) -> None:
    """Sizes are left, right, top, bottom, front, back."""
    mode, last = word(op, "mode"), word(op, "data_format") == "NDHWC"
    x, pads, fill = b.names(op)[0], list_of(b, op, 1), b.constant(word(op, "pad_value"), b.dtype(op["I"][0]["%"]))
    if mode == "circular":
        _wrapped(b, op, x, 1 if last else 2)
        return
    begins, ends = ([4, 2, 0], [5, 3, 1])
    order = [[-1, *each, -1] if last else [-1, -1, *each] for each in (begins, ends)]
    _padded(b, x, [*order[0], *order[1]], pads, _PADS[mode], fill, out(op))


def _wrapped(b: Builder, op: Op, x: str, first: int) -> None:
    """The other end of each axis is put before and behind it."""
    pads = b.numbers(op, 1)
    if pads is None:
        raise ValueError("a circular one to sizes that depend on the input")
    for axis, (before, behind) in zip(range(first, first + 3), (pads[4:6], pads[2:4], pads[0:2])):
        where, end = b.constant([axis]), b.constant([1 << 40])
        parts = [b.node("Slice", [x, b.constant([-before]), end, where])[0]] if before else []
        parts += [x] + ([b.node("Slice", [x, b.constant([0]), b.constant([behind]), where])[0]] if behind else [])
        x = b.node("Concat", parts, axis=axis)[0]
    b.node("Identity", [x], out(op))


def _pad(b: Builder, op: Op) -> None:
    """Sizes are those before and behind each axis in turn."""
    pads, rank = word(op, "paddings"), b.rank(op["I"][0]["%"])
    fill = b.node("Reshape", [b.name(op["I"][1]["%"]), b.constant([], "int64")])
    fill = b.node("Cast", fill, to=number(b.dtype(op["I"][0]["%"])))
    order = [*range(0, 2 * rank, 2), *range(1, 2 * rank, 2)]
    _padded(b, b.names(op)[0], order, b.constant(pads), "constant", fill[0], out(op))


def _pixel_shuffle(b: Builder, op: Op) -> None:
    channels_first(op)
    b.node("DepthToSpace", b.names(op), out(op), blocksize=word(op, "upscale_factor"), mode="CRD")


def _pixel_unshuffle(b: Builder, op: Op) -> None:
    """ONNX puts the places within a block before the channels, Paddle behind them."""
    channels_first(op)
    size, channels = word(op, "downscale_factor"), b.shape(op["I"][0]["%"])[1]
    found = b.node("SpaceToDepth", b.names(op), blocksize=size)
    order = [place * channels + channel for channel in range(channels) for place in range(size * size)]
    b.node("Gather", [*found, b.constant(order)], out(op), axis=1)


def _channel_shuffle(b: Builder, op: Op) -> None:
    channels_first(op)
    groups, channels = word(op, "groups"), b.shape(op["I"][0]["%"])[1]
    each = channels // groups
    order = [group * each + i for i in range(each) for group in range(groups)]
    b.node("Gather", [*b.names(op), b.constant(order)], out(op), axis=1)


CONVERTERS: dict[str, Converter] = {
    **{f"{method}_interp": _interpolation for method in _MODES},
    "pad3d": _pad3d,
    "pad": _pad,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "channel_shuffle": _channel_shuffle,
}
