# SPDX-License-Identifier: Apache-2.0
"""A layer as a product of matrices: its weight as [groups, outputs, inputs], and the rows that it reads."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ..graph import Param, PirGraph
from ..graph.values import channel_axis, exists, forward_uses, kind_of, readers

_CONVS = ("conv2d", "depthwise_conv2d")
POSITIONS = 64  # rows taken from one image: its neighbours say much the same


@dataclass(frozen=True, eq=False)
class SolvableLayer:
    """A layer whose weight can be found anew.

    Attributes:
        param: the weight.
        op: the op that reads it.
        sink: name of the bias (sign 1) or running mean (sign -1) that can take up a constant per output, or None.
        sign: of the sink.
    """

    param: Param
    op: Any
    sink: str | None
    sign: int

    @property
    def input(self) -> Any:
        """The activations that it reads, a value of the Program."""
        return self.op.operand_source(0)

    @property
    def is_conv(self) -> bool:
        return kind_of(self.op) in _CONVS

    def matrix(self, weight: np.ndarray) -> np.ndarray:
        """Stored weight -> [groups, outputs, inputs]; inputs in the order of `rows`."""
        if self.is_conv:
            return weight.reshape(self.param.groups, weight.shape[0] // self.param.groups, -1)
        return (weight if self.param.output_axis == 0 else weight.T)[None]

    def stored(self, matrix: np.ndarray) -> np.ndarray:
        """The way back, in the param's shape."""
        if not self.is_conv and self.param.output_axis != 0:
            return np.ascontiguousarray(matrix[0].T)
        return np.ascontiguousarray(matrix).reshape(self.param.shape)

    def places(self, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray | None:
        """Output positions to look at, int [images, positions]; None where every row is taken."""
        if not self.is_conv:
            return None
        height, width = self.output_size(shape)
        if height * width <= POSITIONS:
            return np.tile(np.arange(height * width), (shape[0], 1))
        return np.stack([random.choice(height * width, POSITIONS, replace=False) for _ in range(shape[0])])

    def output_size(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Height and width of a convolution's output for an input of this shape."""
        (top, bottom, left, right), (h, w) = self._pads(shape), self._size(shape)
        (kh, kw), (sh, sw), (dh, dw) = self._kernel, self._strides, self._dilations
        return (h + top + bottom - dh * (kh - 1) - 1) // sh + 1, (w + left + right - dw * (kw - 1) - 1) // sw + 1

    def rows(self, x: np.ndarray, places: np.ndarray | None) -> np.ndarray:
        """What the layer reads at these places: activations -> [groups, rows, inputs] float32."""
        if places is None:
            return np.asarray(x, np.float32).reshape(1, -1, x.shape[-1])
        if channel_axis(self.op, self.input) != 1:
            x = x.transpose(0, 3, 1, 2)
        top, bottom, left, right = self._pads(x.shape)
        width = self.output_size(x.shape)[1]
        padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
        (kh, kw), (sh, sw), (dh, dw) = self._kernel, self._strides, self._dilations
        down = (places // width * sh)[:, :, None, None] + (np.arange(kh) * dh)[:, None]  # [images, positions, kh, 1]
        across = (places % width * sw)[:, :, None, None] + np.arange(kw) * dw  # [images, positions, 1, kw]
        taken = padded[np.arange(len(x))[:, None, None, None], :, down, across]  # [images, positions, kh, kw, channels]
        groups, inputs = self.param.groups, x.shape[1] // self.param.groups
        taken = taken.reshape(-1, kh, kw, groups, inputs).transpose(3, 0, 4, 1, 2)
        return np.ascontiguousarray(taken, np.float32).reshape(groups, -1, inputs * kh * kw)

    @property
    def _kernel(self) -> tuple[int, int]:
        rows, columns = self.op.operand_source(1).shape[2:]
        return rows, columns

    @property
    def _strides(self) -> tuple[int, int]:
        down, across = self.op.attrs()["strides"]
        return down, across

    @property
    def _dilations(self) -> tuple[int, int]:
        down, across = self.op.attrs()["dilations"]
        return down, across

    def _size(self, shape: tuple[int, ...]) -> tuple[int, int]:
        first = 2 if channel_axis(self.op, self.input) == 1 or len(shape) != 4 else 1
        return shape[first], shape[first + 1]

    def _pads(self, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        """top, bottom, left, right."""
        attrs = self.op.attrs()
        algorithm, pads = attrs.get("padding_algorithm", "EXPLICIT"), list(attrs["paddings"])
        if algorithm == "VALID":
            return 0, 0, 0, 0
        if algorithm == "SAME":  # dilation is then taken as 1, as Paddle does
            found: list[int] = []
            for size, kernel, stride in zip(self._size(shape), self._kernel, self._strides):
                missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
                found += [missing // 2, missing - missing // 2]
            return found[0], found[1], found[2], found[3]
        return (pads[0], pads[1], pads[2], pads[3]) if len(pads) == 4 else (pads[0], pads[0], pads[1], pads[1])


def solvable(graph: PirGraph, param: Param) -> SolvableLayer | str:
    """The layer of a param, or why its weights stay as the magnitudes say."""
    value = graph.persistable(param.name)
    uses = list(readers(value))
    if len(uses) != 1:
        return "several ops read it"
    op = uses[0]
    if graph.is_inner(op):
        return "it is read inside a branch or a loop"
    kind = kind_of(op)
    if kind in _CONVS:
        if not _is(graph, op, 1, param) or len(op.operand_source(1).shape) != 4:
            return f"{op.name()} reads it in a way that is not followed"
        return SolvableLayer(param, op, *_sink(graph, op, channel_axis(op, op.result(0)), param))
    if kind == "matmul" and len(param.shape) == 2 and None not in (param.output_axis, param.input_axis):
        if _is(graph, op, 1, param) and not op.attrs()["transpose_x"]:
            return SolvableLayer(param, op, *_sink(graph, op, len(op.result(0).shape) - 1, param))
    return f"{op.name()} is not solved for yet"


def _is(graph: PirGraph, op: Any, operand: int, param: Param) -> bool:
    """Whether the param itself, at most reshaped or cast, is that operand."""
    value = op.operand_source(operand)
    while value.get_defining_op() is not None and kind_of(value.get_defining_op()) in ("reshape", "unsqueeze", "cast"):
        value = value.get_defining_op().operand_source(0)
    return bool(value.is_same(graph.persistable(param.name)))


def _sink(graph: PirGraph, op: Any, axis: int, param: Param) -> tuple[str | None, int]:
    """The bias behind an op, or the running mean of the batch norm behind it."""
    value, outputs = op.result(0), param.shape[param.output_axis or 0]
    names = {v.id: p.name for p in graph.params() if exists(v := graph.persistable(p.name))}
    uses = forward_uses(value)
    if len(uses) != 1:
        return None, 1
    after = uses[0]
    if kind_of(after) == "add":
        other = after.operand_source(1 if after.operand_source(0).is_same(value) else 0)
        aligned = len(other.shape) - (len(value.shape) - axis)
        if prod(other.shape) == outputs and aligned >= 0 and other.shape[aligned] == outputs:
            return _own(names, other), 1
    if kind_of(after) in ("batch_norm", "sync_batch_norm") and after.attrs().get("is_test", False):
        return _own(names, after.operand_source(1)), -1
    return None, 1


def _own(names: dict[int, str], value: Any) -> str | None:
    """Name of the parameter behind reshapes, if nothing else reads it."""
    while value.id not in names:
        producer = value.get_defining_op()
        if producer is None or kind_of(producer) not in ("reshape", "unsqueeze", "cast"):
            return None
        value = producer.operand_source(0)
    return names[value.id] if len(list(readers(value))) <= 1 else None
