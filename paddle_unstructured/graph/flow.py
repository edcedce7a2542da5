"""The channels of all layers through one inference Program: who lives and dies together, and who reads whom."""
from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any, Sequence

import numpy as np

from .carriers import (JOINS, TRANSPARENT, VECTORS, Carrier, Fixed, behind, channel_axis, exists,
                       forward_uses, kind_of, numbers, readers, through, unknown)
from .constants import along, evaluate, passed_on, where_known
from .pir import PirGraph
from .units import Label, Reading, Sink, Stored, Units, key, weighed

_LISTS = {"builtin.combine", "builtin.split"}  # handled with the op that takes or gives the list


class Flow:
    """Walks the Program once, front to back; it and its weights are only read.

    Args:
        graph: Of an inference Program with its weights in the scope.

    Attributes:
        units: The slots.
        labels: Activations whose channels are known, by `key`.
        stored: Axes of variables that count slots.
        readings: The layers that sum over channels.
        layers: Weight -> slots of the outputs of its layer.
        refused: Weight -> why the outputs of its layer are not followed.
        depthwise: Ops whose number of groups is that of their inputs, with the slots of these.
    """

    def __init__(self, graph: PirGraph) -> None:
        self.graph = graph
        self.units, self.labels = Units(), {}
        self.stored: list[Stored] = []
        self.readings: list[Reading] = []
        self.layers: dict[str, np.ndarray] = {}
        self.refused: dict[str, str] = {}
        self.depthwise: list[tuple[Any, np.ndarray]] = []
        self._values = {param.name: graph.persistable(param.name) for param in graph.params()}
        self._readers: dict[str, set[int]] = {}  # variable -> ops that `stored` accounts for
        self._steps = {"conv2d": self._conv, "depthwise_conv2d": self._conv, "conv2d_transpose": self._conv,
                       "matmul": self._matmul, "prelu": self._prelu, "concat": self._concat, "split": self._split,
                       "split_with_num": self._split, "shape": _shape, "shape64": _shape, "fetch": _fetch,
                       **dict.fromkeys(VECTORS, self._norm), **dict.fromkeys(JOINS, self._join)}
        for op in graph.program.global_block().ops:
            self._visit(op)
        self._settle()

    def label(self, value: Any) -> Label | None:
        return self.labels.get(key(value)) if exists(value) else None

    def zeros(self, weight: str) -> np.ndarray:
        """Which outputs of a layer have nothing but zeros as weights, bool [outputs]."""
        axis = next(stored.axis for stored in self.stored if stored.name == weight)  # that of the outputs comes first
        return ~np.moveaxis(self.graph.array(weight) != 0, axis, 0).reshape(len(self.layers[weight]), -1).any(1)

    def _visit(self, op: Any) -> None:
        if op.name() in _LISTS:
            return
        sources = [source for operand in op.operands_source() if exists(operand) for source in _members(operand)]
        labels = [label for label in map(self.label, sources) if label is not None]
        step = self._steps.get(kind_of(op), self._pass)
        if not labels and step not in (self._conv, self._matmul):
            return
        try:
            step(op)
        except Fixed as fixed:
            for label in labels:
                self.units.pin(label.slots, str(fixed))

    def _settle(self) -> None:
        """Pin what inner blocks, the end of the Program or other readers of a variable see; join shared weights."""
        outer = {op.id() for op in self.graph.program.global_block().ops}
        for label in self.labels.values():
            uses = forward_uses(label.at.value)
            inner = [op for op in uses if op.id() not in outer]
            if inner or not uses:
                self.units.pin(label.slots, str(unknown(inner[0])) if inner else "its outputs leave the Program")
        first: dict[tuple[str, int], Stored] = {}
        for stored in self.stored:
            self.units.join(first.setdefault((stored.name, stored.axis), stored).slots, stored.slots)
            for op in readers(self._values[stored.name]):
                if op.id() not in self._readers[stored.name]:
                    self.units.pin(stored.slots, f"{stored.name}, which sees its outputs, is also read by {op.name()}")

    def _put(self, at: Carrier, base: np.ndarray, constants: np.ndarray) -> None:
        if at.extent > 1:  # one channel cannot go, and would look like a number for all channels
            self.labels[key(at.value)] = Label(at, base, constants)

    def _store(self, op: Any, name: str, axis: int, slots: np.ndarray) -> None:
        self.stored.append(Stored(name, axis, slots))
        self._readers.setdefault(name, set()).add(op.id())

    # -- layers

    def _conv(self, op: Any) -> None:
        label, filters = self.label(op.operand_source(0)), op.operand_source(1)
        name, groups = self._source(filters), int(op.attrs()["groups"])
        transposed = kind_of(op) == "conv2d_transpose"
        stored = list(self._values[name].shape) if name else []
        if name is None or stored[:2] != list(filters.shape)[:2]:
            raise unknown(op)
        if label is not None and label.at.axis != channel_axis(op, label.at.value):
            raise unknown(op)
        if groups > 1:
            return self._grouped(op, name, label, groups, transposed)
        taps = self.graph.array(name).reshape(*stored[:2], -1)
        axis = channel_axis(op, op.result(0))
        self._layer(op, name, label, taps.swapaxes(0, 1) if transposed else taps, axis,
                    axes=(1, 0) if transposed else (0, 1), padded=transposed or _is_padded(op))

    def _matmul(self, op: Any) -> None:
        label, weight = self.label(op.operand_source(0)), op.operand_source(1)
        name, attrs = self._source(weight), op.attrs()
        if name is None or len(weight.shape) != 2 or list(weight.shape) != list(self._values[name].shape):
            raise unknown(op)
        if attrs["transpose_x"] or (label is not None and label.at.axis != len(label.at.value.shape) - 1):
            raise unknown(op)
        taps = self.graph.array(name)
        self._layer(op, name, label, (taps if attrs["transpose_y"] else taps.T)[:, :, None], len(op.result(0).shape) - 1,
                    axes=(0, 1) if attrs["transpose_y"] else (1, 0), padded=False)

    def _layer(self, op: Any, name: str, label: Label | None, taps: np.ndarray, axis: int, *, axes: tuple[int, int],
               padded: bool) -> None:
        """taps: [outputs, inputs, window]; axes: where outputs and inputs are stored."""
        outputs = self.units.new(len(taps))
        constants = np.full(taps.shape[1], np.nan) if label is None else label.constants
        self._store(op, name, axes[0], outputs)
        self.layers[name] = outputs
        if label is not None:
            self._store(op, name, axes[1], label.slots)
            sink = self._sink(op.result(0), axis, len(taps))
            self.readings.append(Reading(name, axes, taps, label.slots, outputs, constants, padded, sink,
                                         self._is_alone(name)))
        self._put(Carrier(op.result(0), axis, len(taps)), outputs, weighed(taps, constants, padded))

    def _grouped(self, op: Any, name: str, label: Label | None, groups: int, transposed: bool) -> None:
        """A depthwise convolution keeps channels apart; any other in groups is not followed."""
        if label is None or groups != label.at.extent or transposed:
            self.refused[name] = "it is a convolution in groups, whose inputs are not followed"
            raise Fixed("a grouped convolution reads its outputs")
        each = op.result(0).shape[label.at.axis] // groups  # outputs per input
        at = replace(label.at, value=op.result(0), inner=label.at.inner * each)
        taps = self.graph.array(name).reshape(at.extent, 1, -1)
        before = np.repeat(label.constants, each)
        constants = np.array([weighed(t[None], c[None], _is_padded(op))[0] for t, c in zip(taps, before)])
        self._put(at, label.base, constants)
        after = Label(at, label.base, constants)
        self._store(op, name, 0, after.slots)
        self.layers[name] = after.slots
        self.depthwise.append((op, label.slots))

    def _sink(self, value: Any, axis: int, outputs: int) -> Sink | None:
        """The bias or norm that all outputs go through next, if it is theirs alone."""
        for _ in range(2):
            uses = forward_uses(value)
            kind = kind_of(uses[0]) if len(uses) == 1 else ""
            if kind not in ("add", "batch_norm"):
                return None
            op = uses[0]
            vector = op.operand_source(1 if op.operand_source(0).is_same(value) else 0)
            name = self._source(vector)
            shape = list(vector.shape)
            from_end = len(value.shape) - axis
            fits = name is not None and prod(shape) == outputs and (
                kind == "batch_norm" or (len(shape) >= from_end and shape[-from_end] == outputs))
            if fits and self._is_alone(name):
                return Sink(name, 1 if kind == "add" else -1)
            value = op.result(0)
        return None

    def _is_alone(self, name: str) -> bool:
        """Whether a variable may be changed: one op reads it, and it is of a dtype that the host computes in."""
        value = self._values[name]
        return len(list(readers(value))) == 1 and str(value.dtype).split(".")[-1].lower() in ("float32", "float64")

    # -- numbers per channel

    def _norm(self, op: Any) -> None:
        label, attrs = self.label(op.operand_source(0)), op.attrs()
        if label is None or label.at.axis != channel_axis(op, label.at.value):
            raise unknown(op)
        if "is_test" in attrs and not (attrs["is_test"] or attrs["use_global_stats"]):
            raise Fixed(f"{op.name()} is not in test mode")
        if any(forward_uses(result) for result in op.results()[1:]):
            raise unknown(op)
        self._scaled(op, label, VECTORS[kind_of(op)])

    def _prelu(self, op: Any) -> None:
        label = self.label(op.operand_source(0))
        one_for_all = prod(op.operand_source(1).shape) == 1
        in_channels = label is not None and op.attrs()["mode"] == "channel" and \
            label.at.axis == channel_axis(op, label.at.value)
        if label is None or not (in_channels or one_for_all):
            raise unknown(op)
        self._scaled(op, label, () if one_for_all else (1,), () if in_channels and not one_for_all else (1,))

    def _scaled(self, op: Any, label: Label, vectors: Sequence[int], others: Sequence[int] = ()) -> None:
        """Behind an op whose operands `vectors` hold a number per channel, and `others` one for all."""
        given = {0: along(label.constants, len(label.at.value.shape), label.at.axis)}
        for operand in [*vectors, *others]:
            value = op.operand_source(operand)
            if not exists(value):
                continue
            name = self._source(value)
            if name is None:
                raise unknown(op)
            if operand in vectors:
                self._store(op, name, self._only_axis(op, name, value, label.at.extent), label.slots)
            given[operand] = self.graph.array(name).reshape(value.shape)
        self._put(replace(label.at, value=op.result(0)), label.base, _result(op, given, label.constants))

    def _only_axis(self, op: Any, name: str, value: Any, extent: int) -> int:
        """The stored axis of a vector; every shape it is given on its way has one such axis."""
        stored = list(self._values[name].shape)
        while True:
            if prod(value.shape) != extent or extent not in value.shape:
                raise unknown(op)
            if value.is_same(self._values[name]):
                return stored.index(extent)
            value = value.get_defining_op().operand_source(0)

    # -- several activations

    def _join(self, op: Any) -> None:
        rank = len(op.result(0).shape)
        operands = [op.operand_source(0), op.operand_source(1)]
        labels = [self.label(operand) for operand in operands]
        known = [label for label in labels if label is not None]
        axes = {(label.at.axis + rank - len(label.at.value.shape), label.at.extent) for label in known}
        if len(axes) > 1:
            raise Fixed(f"{op.name()} joins its outputs with other axes")
        (axis, extent), = axes
        if len(known) == 2:
            constants = [label.constants for label in labels]
            self.units.join(known[0].slots, known[1].slots)
        else:
            constants = [self._beside(op, operand, axis, extent, rank, known[0]) if label is None else label.constants
                         for operand, label in zip(operands, labels)]
        given = {i: along(c, rank, axis) for i, c in enumerate(constants)}
        result = _result(op, given, constants[0] + constants[1])
        if kind_of(op) == "multiply":  # zero times anything
            result = np.where((constants[0] == 0) | (constants[1] == 0), 0.0, result)
        at = replace(known[0].at, value=op.result(0), axis=axis)
        self._put(at, known[0].base, result)

    def _beside(self, op: Any, other: Any, axis: int, extent: int, rank: int, label: Label) -> np.ndarray:
        """Constants of an operand that has no label: a parameter, or what is the same for all channels."""
        met = axis - (rank - len(other.shape))
        name = self._source(other)
        if met < 0 or other.shape[met] == 1:
            if name is not None and prod(other.shape) == 1:
                return np.full(extent, self.graph.array(name).item())
            full = other.get_defining_op()
            same = full is not None and full.name() == "pd_op.full"
            return np.full(extent, full.attrs()["value"] if same else np.nan)
        if name is None:
            what = "are added to" if kind_of(op) == "add" else f"are joined by {op.name()} with"
            raise Fixed(f"its outputs {what} other activations")
        if prod(other.shape) == extent:
            self._store(op, name, self._only_axis(op, name, other, extent), label.slots)
            return self.graph.array(name).astype(np.float64).ravel()
        if not other.is_same(self._values[name]):
            raise unknown(op)
        self._store(op, name, met, label.slots)
        return np.full(extent, np.nan)

    def _concat(self, op: Any) -> None:
        values = _members(op.operand_source(0))
        given = op.operand_source(1).get_defining_op()
        labels = [self.label(value) for value in values]
        rank = len(op.result(0).shape)
        if given is None or given.name() != "pd_op.full":
            raise unknown(op)
        along_axis = int(given.attrs()["value"]) % rank
        axes = {label.at.axis for label in labels if label is not None}
        if axes != {along_axis}:
            raise Fixed(f"{op.name()} joins its outputs along another axis")
        parts = [self._part(value, label, along_axis) for value, label in zip(values, labels)]
        slots, constants = (np.concatenate(part) for part in zip(*parts))
        self._put(Carrier(op.result(0), along_axis, len(slots)), slots, constants)

    def _part(self, value: Any, label: Label | None, axis: int) -> tuple[np.ndarray, np.ndarray]:
        if label is not None:
            return label.slots, label.constants
        extent = value.shape[axis]
        if extent < 0:
            raise Fixed("its outputs are concatenated with an unknown number of channels")
        slots = self.units.new(extent)
        self.units.pin(slots, "it is not the output of a layer that is followed")
        return slots, np.full(extent, np.nan)

    def _split(self, op: Any) -> None:
        label, axis = self.label(op.operand_source(0)), op.operand_source(op.num_operands() - 1).get_defining_op()
        takers = forward_uses(op.result(0))
        if label is None or axis is None or axis.name() != "pd_op.full" or [t.name() for t in takers] != ["builtin.split"]:
            raise unknown(op)
        pieces = takers[0].results()
        if int(axis.attrs()["value"]) % len(label.at.value.shape) != label.at.axis:
            for piece in pieces:
                self._put(replace(label.at, value=piece), label.base, label.constants)
            return
        ends = np.cumsum([piece.shape[label.at.axis] for piece in pieces])
        parts = list(zip(pieces, np.split(label.slots, ends[:-1]), np.split(label.constants, ends[:-1])))
        if kind_of(op) == "split_with_num":  # equal parts stay equal
            for _, slots, _ in parts[1:]:
                self.units.join(parts[0][1], slots)
        elif numbers(op.operand_source(1)) is None:
            raise unknown(op)
        for piece, slots, constants in parts:
            if len(slots) == 1:
                self.units.pin(slots, "it is the only channel of its part")
            self._put(Carrier(piece, label.at.axis, len(slots)), slots, constants)

    def _pass(self, op: Any) -> None:
        label = self.label(op.operand_source(0))
        if label is None or any(self.label(other) is not None for other in op.operands_source()[1:]):
            raise unknown(op)
        if kind_of(op) == "reshape" and numbers(op.operand_source(1)) is None:
            raise Fixed(f"{op.name()} gives its outputs a shape that is computed")
        after = behind(op, label.at)
        self._put(after, label.base, passed_on(op, label.at, after, label.constants))

    def _source(self, value: Any) -> str | None:
        """Name of the parameter behind casts and reshapes."""
        value = through(value, TRANSPARENT)
        return value.name if exists(value) and value.persistable and value.name in self._values else None


def _result(op: Any, given: dict[int, np.ndarray], constants: np.ndarray) -> np.ndarray:
    if np.isnan(constants).all():
        return constants
    return where_known(constants, evaluate(op, given))


def _is_padded(op: Any) -> bool:
    attrs, window = op.attrs(), op.operand_source(1).shape[2:]
    if attrs["padding_algorithm"] == "SAME":
        return prod(window) > 1
    return attrs["padding_algorithm"] != "VALID" and any(attrs["paddings"])


def _shape(op: Any) -> None:
    raise Fixed("its shape is read")


def _fetch(op: Any) -> None:
    raise Fixed("its outputs are fetched")


def _members(value: Any) -> list[Any]:
    """A list's members; any other value by itself."""
    producer = value.get_defining_op()
    return producer.operands_source() if producer is not None and producer.name() == "builtin.combine" else [value]
