# SPDX-License-Identifier: Apache-2.0
"""A layer as a product of matrices: its weight as [groups, outputs, inputs], and the rows that it reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from ..graph import Param, PirGraph
from ..graph.values import TRANSPARENT, channel_axis, exists, forward_uses, kind_of, readers, through

_CONVS = ("conv2d", "depthwise_conv2d", "conv3d")
_TRANSPOSED = ("conv2d_transpose", "depthwise_conv2d_transpose", "conv3d_transpose")
POSITIONS = 64  # rows taken from one image: its neighbours say much the same


@dataclass(frozen=True, eq=False)
class SolvableLayer:
    """A layer whose weight can be found anew.

    Attributes:
        param: the weight.
        op: the op that reads it.
        sink: name of the bias (sign 1) or running mean (sign -1) that can take up a constant per output, or None.
        sign: of the sink.
        also: the same weight, as further ops behind this one read it.
    """

    param: Param
    op: Any
    sink: str | None
    sign: int
    also: tuple[SolvableLayer, ...] = ()

    @property
    def input(self) -> Any:
        """The activations that it reads, a value of the Program."""
        return self.op.operand_source(0)

    @property
    def turn(self) -> int:
        """Of weights of one op, which come first: what others of it read depends on them."""
        return 0

    @property
    def is_conv(self) -> bool:
        return kind_of(self.op) in _CONVS + _TRANSPOSED

    @property
    def is_transposed(self) -> bool:
        """A transposed convolution: one of stride 1 over inputs with zeros between them, its kernel turned around."""
        return kind_of(self.op) in _TRANSPOSED

    def matrix(self, weight: np.ndarray) -> np.ndarray:
        """Stored weight -> [groups, outputs, inputs]; inputs in the order of `rows`."""
        if not self.is_conv:
            return (weight if self.param.output_axis == 0 else weight.T)[None]
        groups = self.param.groups
        if not self.is_transposed:
            return weight.reshape(groups, weight.shape[0] // groups, -1)
        inputs, outputs = weight.shape[:2]
        turned = weight.reshape(groups, inputs // groups, outputs, -1)[..., ::-1]
        return np.ascontiguousarray(turned.transpose(0, 2, 1, 3)).reshape(groups, outputs, -1)

    def stored(self, matrix: np.ndarray) -> np.ndarray:
        """The way back, in the param's shape."""
        if not self.is_conv and self.param.output_axis != 0:
            return np.ascontiguousarray(matrix[0].T)
        if not self.is_transposed:
            return np.ascontiguousarray(matrix).reshape(self.param.shape)
        groups, outputs = matrix.shape[:2]
        turned = matrix.reshape(groups, outputs, self.param.shape[0] // groups, -1)[..., ::-1]
        return np.ascontiguousarray(turned.transpose(0, 2, 1, 3)).reshape(self.param.shape)

    def places(self, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray | None:
        """Output positions to look at, int [images, positions]; None where every row is taken."""
        if not self.is_conv:
            return None
        count = prod(self.output_size(shape))
        if count <= POSITIONS:
            return np.tile(np.arange(count), (shape[0], 1))
        return np.stack([random.choice(count, POSITIONS, replace=False) for _ in range(shape[0])])

    def output_size(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Extents of a convolution's output for an input of this shape."""
        extents = zip(self._spread(shape), self._pads(shape), self._kernel, self._steps, self._dilations)
        return tuple((n + sum(pads) - d * (k - 1) - 1) // step + 1 for n, pads, k, step, d in extents)

    def rows(self, x: np.ndarray, places: np.ndarray | None) -> np.ndarray:
        """What the layer reads at these places: activations -> [groups, rows, inputs] float32."""
        if places is None:
            return np.asarray(x, np.float32).reshape(1, -1, x.shape[-1])
        shape, axes = x.shape, len(self._kernel)
        if channel_axis(self.op, self.input) != 1:
            x = np.moveaxis(x, -1, 1)
        if self.is_transposed:
            spread = np.zeros((*x.shape[:2], *self._spread(shape)), x.dtype)
            every = [slice(None, None, step) for step in (1, 1, *self._strides)]
            spread[tuple(every)] = x
            x = spread
        pads, size = self._pads(shape), self.output_size(shape)
        index: list[Any] = [np.arange(len(x)).reshape(-1, *[1] * (axes + 1)), slice(None)]
        inside: Any = np.ones(1, bool)
        for i, (k, step, d) in enumerate(zip(self._kernel, self._steps, self._dilations)):
            at = places // prod(size[i + 1 :]) % size[i] * step - pads[i][0]
            reach = (np.arange(k) * d).reshape([-1 if i == j else 1 for j in range(axes)])
            at = at.reshape(*at.shape, *[1] * axes) + reach
            index.append(np.clip(at, 0, x.shape[2 + i] - 1))
            inside = inside & (index[-1] == at)
        taken = x[tuple(index)]  # [images, positions, *kernel, channels]
        if not inside.all():
            taken[~np.broadcast_to(inside, taken.shape[:-1])] = 0.0
        groups, inputs = self.param.groups, x.shape[1] // self.param.groups
        taken = np.moveaxis(taken.reshape(-1, *self._kernel, groups, inputs), (-2, 0, -1), (0, 1, 2))
        return np.ascontiguousarray(taken, np.float32).reshape(groups, -1, inputs * prod(self._kernel))

    @property
    def _kernel(self) -> tuple[int, ...]:
        return tuple(self.op.operand_source(1).shape[2:])

    @property
    def _strides(self) -> tuple[int, ...]:
        return tuple(self.op.attrs()["strides"])

    @property
    def _steps(self) -> tuple[int, ...]:
        """Strides of the convolution that is unfolded."""
        return (1,) * len(self._strides) if self.is_transposed else self._strides

    @property
    def _dilations(self) -> tuple[int, ...]:
        same = self.op.attrs().get("padding_algorithm", "EXPLICIT") == "SAME"  # dilation is then 1, as Paddle has it
        return (1,) * len(self._strides) if same else tuple(self.op.attrs()["dilations"])

    def _size(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(shape[2:] if channel_axis(self.op, self.input) == 1 else shape[1:-1])

    def _spread(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Extents of what is unfolded, without its padding."""
        if not self.is_transposed:
            return self._size(shape)
        return tuple((n - 1) * stride + 1 for n, stride in zip(self._size(shape), self._strides))

    def _pads(self, shape: tuple[int, ...]) -> list[tuple[int, int]]:
        """Zeros before and behind each extent of what is unfolded; less than 0 where some of it is cut off."""
        pads = self._asked_pads(shape)
        if not self.is_transposed:
            return pads
        reach = [d * (k - 1) for d, k in zip(self._dilations, self._kernel)]
        pads = [(far - low, far - high) for far, (low, high) in zip(reach, pads)]
        found = [n + low + high - far for n, (low, high), far in zip(self._spread(shape), pads, reach)]
        result = self.op.result(0)
        wanted = result.shape[2:] if channel_axis(self.op, result) == 1 else result.shape[1:-1]
        extra = list(self.op.attrs().get("output_padding", ())) or [0] * len(found)
        more = [
            want - got if want > 0 and n > 0 else add
            for want, got, add, n in zip(wanted, found, extra, self._size(self.input.shape))
        ]
        return [(low, high + add) for (low, high), add in zip(pads, more)]

    def _asked_pads(self, shape: tuple[int, ...]) -> list[tuple[int, int]]:
        attrs = self.op.attrs()
        algorithm, pads = attrs.get("padding_algorithm", "EXPLICIT"), list(attrs["paddings"])
        if algorithm == "VALID":
            return [(0, 0)] * len(self._kernel)
        if algorithm == "SAME":
            sizes = zip(self._size(shape), self._kernel, self._strides)
            missing = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size, kernel, stride in sizes]
            return [(n // 2, n - n // 2) for n in missing]
        return list(zip(pads[::2], pads[1::2])) if len(pads) == 2 * len(self._kernel) else [(n, n) for n in pads]


_WHY = {
    "embedding": "an embedding is looked up, not multiplied: there are no inputs to make up with",
    "rnn": "its own outputs are its inputs, so that an error of one step is in the next",
}


def solvable(graph: PirGraph, param: Param, *, shared: bool = False) -> SolvableLayer | str:
    """The layer of a param, or why its weights stay as the magnitudes say.

    Args:
        graph: of an inference Program.
        param: the weight.
        shared: whether several ops may read it.
    """
    if param.role in _WHY:
        return _WHY[param.role]
    uses = {op.id(): op for op in readers(graph.persistable(param.name))}
    if not uses:
        return "no op reads it"
    if len(uses) != 1 and not shared:
        return "several ops read it"
    ordered = [op for op in graph.program.global_block().ops if op.id() in uses]
    if len(ordered) < len(uses):
        return "it is read inside a branch or a loop"
    found = [_read_by(graph, op, param) for op in ordered]
    first, also = found[0], [one for one in found[1:] if isinstance(one, SolvableLayer)]
    if isinstance(first, str) or not also and len(found) == 1:
        return first
    if len(also) + 1 < len(found) or any(kind_of(one.op) != kind_of(first.op) for one in also):
        return "several ops read it, and not alike"
    return replace(first, sink=None, also=tuple(replace(one, sink=None) for one in also))


def _read_by(graph: PirGraph, op: Any, param: Param) -> SolvableLayer | str:
    kind = kind_of(op)
    if kind in _CONVS + _TRANSPOSED:
        if not _is(graph, op, 1, param) or tuple(op.operand_source(1).shape[:2]) != param.shape[:2]:
            return f"{op.name()} reads it in a way that is not followed"
        return SolvableLayer(param, op, *_sink(graph, op, channel_axis(op, op.result(0)), param))
    if kind == "matmul" and len(param.shape) == 2 and None not in (param.output_axis, param.input_axis):
        if _is(graph, op, 1, param) and not op.attrs()["transpose_x"]:
            return SolvableLayer(param, op, *_sink(graph, op, len(op.result(0).shape) - 1, param))
    return f"{op.name()} is not solved for"


def _is(graph: PirGraph, op: Any, operand: int, param: Param) -> bool:
    """Whether the param itself, at most reshaped, cast or given another name, is that operand."""
    return bool(through(op.operand_source(operand), TRANSPARENT).is_same(graph.persistable(param.name)))


def _sink(graph: PirGraph, op: Any, axis: int, param: Param) -> tuple[str | None, int]:
    """The bias behind an op, or the running mean of the batch norm behind it."""
    value, outputs = op.result(0), op.result(0).shape[axis]
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
    value = through(value, TRANSPARENT)
    return names[value.id] if value.id in names and len(list(readers(value))) <= 1 else None
