# SPDX-License-Identifier: Apache-2.0
"""What converters of ops ask of an op."""

from __future__ import annotations

from typing import Any, Callable, Union

import numpy as np

from ..net import Layer, step_of
from ..reader import Reader, Results, Symbol
from ..refusals import Refusal
from ..views import Axis, View, known

Made = Union[Symbol, Layer, Results, None]  # a Layer: [n, channels, height, width] of the shape that the Program says
Converter = Callable[[Reader, Any], Made]


def require(holds: Any, reason: str) -> None:
    """Refuse the op if this does not hold."""
    if not holds:
        raise Refusal(reason)


def extent_of(axis: Axis, otherwise: str) -> int:
    """The size of an axis; `otherwise` is why the op is refused where that depends on the input."""
    extent = known(axis)
    if extent is None:
        raise Refusal(otherwise)
    return extent


def without(view: View, i: int) -> View:
    """The view without its axis i, which is one of 1."""
    return view.with_axes([axis for k, axis in enumerate(view.axes) if k != i])


def attributes_of(op: Any) -> dict[str, Any]:
    """Attributes of an op whose channels come before its pixels."""
    attributes: dict[str, Any] = op.attrs()
    require(attributes.get("data_format", "NCHW") in ("NCHW", "AnyLayout", "NCDHW", "NCL"), "only NCHW is known")
    return attributes


_LAST = {"NHWC": 4, "NLC": 3, "NWC": 3, "NDHWC": 5}  # orders in which the channels come last, and their ranks


class _Value:
    """A value of the Program under another order of its axes."""

    def __init__(self, value: Any, shape: list[int], key: int) -> None:
        self._value, self.shape, self.id = value, shape, key

    def __getattr__(self, name: str) -> Any:
        return getattr(self._value, name)


class _ChannelsFirst:
    """An op whose channels come last, as the one of [n, channels, ...]."""

    def __init__(self, reader: Reader, op: Any) -> None:
        self._op, self._key = op, -1 - op.id()
        view = reader.view(op, 0)
        reader.learn(self._key, view.transposed([0, view.rank - 1, *range(1, view.rank - 1)]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._op, name)

    def attrs(self) -> dict[str, Any]:
        return {**self._op.attrs(), "data_format": "NCHW"}

    def operand_source(self, i: int) -> Any:
        value = self._op.operand_source(i)
        return _Value(value, _first(value.shape), self._key) if i == 0 else value

    def result(self, i: int) -> Any:
        value = self._op.result(i)
        return _Value(value, _first(value.shape), value.id) if i == 0 else value


def _first(shape: Any) -> list[int]:
    axes = list(shape)
    return [axes[0], axes[-1], *axes[1:-1]] if len(axes) > 2 else axes


def either_order(convert: Converter) -> Converter:
    """A converter of [n, channels, ...] as one of any data format."""

    def converted(reader: Reader, op: Any) -> Made:
        attributes = op.attrs()
        form = attributes.get("data_format", attributes.get("data_layout"))
        if _LAST.get(str(form)) != len(op.operand_source(0).shape):
            return convert(reader, op)
        turned = _ChannelsFirst(reader, op)
        made = convert(reader, turned)
        symbols = made.symbols if isinstance(made, Results) else (made,)
        views = [reader.result(turned, each) if isinstance(each, Layer) else each for each in symbols[:1]]
        back = [v.transposed([0, *range(2, v.rank), 1]) if isinstance(v, View) and v.rank > 2 else v for v in views]
        return Results((*back, *symbols[1:]))

    return converted


def folded_over(view: View, *, alone: bool) -> Axis:
    """The atoms that a scale and a shift for each channel have numbers for.

    They are all channels; but for a convolution that moves along slices or frames, and takes the numbers in, those of
    one of them.
    """
    if step_of(view.layer) and alone and view.layer.act == "none":
        for first in range(len(view.channels)):
            if known(view.channels[first:]) == len(view.layer.bias):
                return view.channels[first:]
    return view.channels


def shape_of(op: Any, i: int = 0) -> list[int]:
    """Shape of an operand as the Program says it; -1 for what is open."""
    return list(op.operand_source(i).shape)


def number(reader: Reader, op: Any, i: int) -> float:
    """An operand that is one number."""
    return float(np.ravel(reader.constant(op, i))[0])


def axis_numbers(view: View, axes: Any) -> list[int]:
    """Numbers of axes, counted from the front."""
    return sorted(int(axis) % view.rank for axis in np.ravel(axes))
