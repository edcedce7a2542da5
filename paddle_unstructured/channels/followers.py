"""Who sees the output channels of a layer: every stored axis that has to follow when they are reordered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any, Iterator, Sequence

import numpy as np

from ..graph.base import Param
from ..graph.program import PirGraph
from ..graph.roles import writes
from ..graph.values import TRANSPARENT, channel_axis, exists, forward_uses, is_constant, kind_of, readers, through
from .ops import JOINS, VECTORS, Carrier, Fixed, behind, unknown

_SHAPE_ONLY = {"shape", "shape64", "full_like"}  # what they give does not depend on the order of channels
_DECAY = {"scale", "sign", "cast", "combine", "add", "add_n"}  # regularisation, on its way to the optimizer


@dataclass(frozen=True)
class Seen:
    """Axis `axis` of the variable `name` counts outer x channels x inner, flattened in that order."""

    name: str
    axis: int
    outer: int = 1
    inner: int = 1


class Channels:
    """Follows the output channels of layers through one Program.

    Args:
        graph: Of the Program, which is only read.
    """

    def __init__(self, graph: PirGraph) -> None:
        self._graph = graph
        self._params = {param.name: param for param in graph.params()}
        self._seen: list[Seen] = []

    def seen_by(self, param: Param) -> list[Seen]:
        """All stored axes that count the param's output channels: its own, biases and norms on the way, the inputs of
        the layers that follow, and the optimizer's accumulators of all these.

        Raises:
            Fixed: The channels reach something whose meaning depends on their order; says what.
        """
        self._seen = []
        carriers = [self._outputs(param)]
        while carriers:
            carrier = carriers.pop()
            followers = [op for op in forward_uses(carrier.value) if kind_of(op) not in _SHAPE_ONLY]
            if not followers:
                raise Fixed("its outputs leave the Program")
            carriers += filter(None, (self._behind(op, carrier) for op in followers))
        found = [*self._seen, *(other for seen in self._seen for other in self._companions(seen))]
        if len({seen.name for seen in found}) < len(found):
            raise Fixed("a variable that sees its outputs does so twice")
        return found

    def _outputs(self, param: Param) -> Carrier:
        if param.groups > 1:
            raise Fixed("it is a grouped convolution")
        if param.output_axis is None or param.input_axis is None:
            raise Fixed("its output axis is not known")
        reader = self._graph.reader(param)
        kind, value, channels = kind_of(reader), reader.result(0), param.shape[param.output_axis]
        if kind not in ("conv2d", "matmul") or self._source(reader.operand_source(1)) != param.name:
            raise Fixed(f"{reader.name()} reads it in a way that is not followed")
        axis = channel_axis(reader, value) if kind == "conv2d" else len(value.shape) - 1
        self._take(reader, param.name, param.output_axis, Carrier(value, axis, channels))
        return Carrier(value, axis, channels)

    def _behind(self, op: Any, at: Carrier) -> Carrier | None:
        """The channels in the op's result; None where a layer has summed over them."""
        kind = kind_of(op)
        if kind in JOINS:
            return self._join(op, at)
        step = {
            "conv2d": self._conv,
            "depthwise_conv2d": self._conv,
            "conv2d_transpose": self._conv,
            "matmul": self._matmul,
            "layer_norm": self._layer_norm,
            "prelu": self._prelu,
            **dict.fromkeys(VECTORS, self._norm),
        }.get(kind)
        if step is None:
            return behind(op, at)
        if not op.operand_source(0).is_same(at.value) or any(forward_uses(result) for result in op.results()[1:]):
            raise unknown(op)
        return step(op, at)

    def _conv(self, op: Any, at: Carrier) -> Carrier | None:
        if at.axis != channel_axis(op, at.value):
            raise unknown(op)
        name, groups = self._source(op.operand_source(1)), int(op.attrs()["groups"])
        param = self._params.get(name)
        if groups == 1:
            return self._take(op, name, param and param.input_axis, at)
        if groups != at.extent or kind_of(op) == "conv2d_transpose":
            raise Fixed("a grouped convolution reads its outputs")
        each = op.result(0).shape[at.axis] // groups  # outputs of a depthwise convolution per input
        after = replace(at, value=op.result(0), inner=at.inner * each)
        self._take(op, name, param and param.output_axis, after)
        return after

    def _matmul(self, op: Any, at: Carrier) -> None:
        name = self._source(op.operand_source(1))
        param = self._params.get(name)
        if at.axis != len(at.value.shape) - 1 or op.attrs()["transpose_x"] or param is None or len(param.shape) != 2:
            raise unknown(op)
        self._take(op, name, param.input_axis, at)

    def _join(self, op: Any, at: Carrier) -> Carrier:
        """at + other: what is the same for all channels passes, a parameter follows, activations are in the way."""
        other = op.operand_source(1 if op.operand_source(0).is_same(at.value) else 0)
        rank = len(op.result(0).shape)
        axis = at.axis + rank - len(at.value.shape)  # shapes are aligned at their ends
        met = axis - (rank - len(other.shape))
        if met >= 0 and other.shape[met] != 1 and not is_constant(other):
            if self._source(other) is None:
                what = "are added to" if kind_of(op) == "add" else f"are joined by {op.name()} with"
                raise Fixed(f"its outputs {what} other activations")
            self._vector(op, other, at, met)
        return replace(at, value=op.result(0), axis=axis)

    def _norm(self, op: Any, at: Carrier) -> Carrier:
        if at.axis != channel_axis(op, at.value):
            raise unknown(op)
        for operand in VECTORS[kind_of(op)]:
            self._vector(op, op.operand_source(operand), at)
        return replace(at, value=op.result(0))

    def _layer_norm(self, op: Any, at: Carrier) -> Carrier:
        if not at.axis == op.attrs()["begin_norm_axis"] == len(at.value.shape) - 1:
            raise unknown(op)
        for operand in (1, 2):
            self._vector(op, op.operand_source(operand), at)
        return replace(at, value=op.result(0))

    def _prelu(self, op: Any, at: Carrier) -> Carrier:
        slopes, mode = op.operand_source(1), op.attrs()["mode"]
        if not is_constant(slopes):
            if mode != "channel" or at.axis != channel_axis(op, at.value):
                raise unknown(op)
            self._vector(op, slopes, at)
        return replace(at, value=op.result(0))

    def _vector(self, op: Any, value: Any, at: Carrier, axis: int | None = None) -> None:
        """Numbers per channel: a parameter, directly (its channels are on `axis`) or as its only axis that counts."""
        if not exists(value) or is_constant(value):
            return
        name = self._source(value)
        if name is None:
            raise unknown(op)
        stored = self._params[name].shape
        if axis is None or kind_of(value.get_defining_op()) != "parameter":
            axis = next((i for i, extent in enumerate(stored) if extent == prod(stored)), None)
        self._take(op, name, axis, at)

    def _take(self, op: Any, name: str | None, axis: int | None, at: Carrier) -> None:
        """The variable's axis follows the channels, if the op is all that reads it."""
        if name is None or axis is None or self._params[name].shape[axis] != at.extent:
            raise unknown(op)
        value = self._graph.persistable(name)
        others = [reader.name() for reader in readers(value) if reader.id() != op.id() and not _decays(reader, value)]
        if others:
            raise Fixed(f"{name}, which sees its outputs, is also read by {others[0]}")
        self._seen.append(Seen(name, axis, at.outer, at.inner))

    def _companions(self, seen: Seen) -> Iterator[Seen]:
        """Accumulators and masks: variables of the same shape that the writers of the variable take."""
        value, found = self._graph.persistable(seen.name), set()
        for op in value.all_used_ops():
            for i in range(op.num_operands()) if writes(op, value) else ():
                other = op.operand_source(i)
                if other.is_same(value) or not _is_like(other, value) or op.get_input_names()[i] == "grad":
                    continue
                if not through(other, {"cast"}).persistable:
                    raise Fixed(f"{seen.name}, which sees its outputs, is written by {op.name()}")
                found.add(through(other, {"cast"}).name)
        for name in sorted(found):
            yield replace(seen, name=name)

    def _source(self, value: Any) -> str | None:
        """Name of the parameter behind casts and reshapes."""
        value = through(value, TRANSPARENT)
        return value.name if exists(value) and value.persistable and value.name in self._params else None


def reorder(graph: PirGraph, seen: Sequence[Seen], order: np.ndarray) -> None:
    """Bring the channels of all these stored axes into a new order: channel i is then the former order[i].

    Raises:
        ValueError: One of the variables has no value; none was changed.
    """
    missing = [s.name for s in seen if not graph.is_initialized(s.name)]
    if missing:
        raise ValueError(
            f"{', '.join(missing[:3])} must have a value in the scope before channels are permuted; run "
            "the startup Program first."
        )
    for s in seen:
        tensor = graph.scope.find_var(s.name).get_tensor()
        array = np.array(tensor)
        index = np.arange(array.shape[s.axis]).reshape(s.outer, len(order), s.inner)[:, order].ravel()
        tensor.set(np.ascontiguousarray(array.take(index, s.axis)), graph.place)


def _decays(op: Any, value: Any, depth: int = 0) -> bool:
    """Whether the op is regularisation: all that becomes of its result is the optimizer's update of the variable."""
    if depth and writes(op, value):
        return True
    following = op.result(0).all_used_ops() if kind_of(op) in _DECAY and depth < 6 else []
    return bool(following) and all(_decays(after, value, depth + 1) for after in following)


def _is_like(other: Any, value: Any) -> bool:
    return exists(other) and other.is_dense_tensor_type() and list(other.shape) == list(value.shape)
