# SPDX-License-Identifier: Apache-2.0
"""What a parameter is for, read off the PIR ops that use it, directly or behind others that only move or scale it."""

from __future__ import annotations

from itertools import accumulate
from math import gcd, prod
from typing import Any, Iterable, Iterator, List, Sequence, Tuple, Union

from .base import WEIGHT_ROLES, Role
from .op_facts import (
    all_behind,
    axis_of,
    is_bookkeeping,
    is_dequantization,
    is_parameter,
    kind_of,
    operand_of,
    overwrites,
    overwrites_another,
    slot_of,
    taken_apart,
)
from .rounded import begins, ends, loses_zeros
from .weight_path import WeightPath, sliced, stored_axes

# Slots of ops as Paddle names them. (output axis, input axis) of the stored weight, or None.
_CONVS = {
    "conv2d": (0, 1),
    "depthwise_conv2d": (0, 1),
    "conv3d": (0, 1),
    "fused_conv2d_add_act": (0, 1),
    "conv2d_transpose": (1, 0),
    "depthwise_conv2d_transpose": (1, 0),
    "conv3d_transpose": (1, 0),
}
_PRODUCTS = {
    "matmul": ("x", "y"),
    "bmm": ("x", "y"),
    "mv": ("x", "vec"),
    "addmm": ("x", "y"),
    "baddbmm": ("x", "y"),
    "fused_gemm_epilogue": ("x", "y"),
    "fc": ("input", "w"),
}
WEIGHT_ROUNDING = "fake_channel_wise_quantize_dequantize_abs_max"  # of quantization-aware training
_MOVES = {
    *("cast", "assign", "share_data", "reshape", "unsqueeze", "squeeze", "transpose", "expand", "tile", "flatten"),
    "contiguous",
}
_KEEPS = {WEIGHT_ROUNDING, "dropout", "tanh", "relu", "abs", "sign"}  # each weight by itself, zero stays zero
_SUMS = {"add", "subtract"}
_FACTORS = {"multiply", "divide"}
_FLOORS = {"clip", "maximum", "add"}  # what keeps a norm from being 0
_LISTS = {"split", "split_with_num", "unbind"}  # give a list, which builtin.split takes apart
_NUMBERS = {"shape", "shape64", "numel", "full_like", "zeros_like", "ones_like"}  # say nothing of the values they read
_COPIED = "{} copies it into another parameter at every run, and a saved model holds that one"
_FACTOR_ONLY = "what is computed from it only scales weights"
_NORM_SLOTS = {
    "scale": "norm scale",
    "bias": "norm bias",
    "mean": "norm mean",
    "variance": "norm variance",
    "norm_weight": "norm scale",
    "norm_bias": "norm bias",
    "ln_scale": "norm scale",
    "ln_bias": "norm bias",
    "weight": "norm scale",
    "u": "norm statistics",
    "v": "norm statistics",
}

_Step = Union[Role, List[Tuple[Any, WeightPath]]]  # what an op makes of a value: a role, or values it passes on to


class Roles:
    """Reads the ops of one Program.

    Args:
        ops: All of them in order, those of inner blocks included.
    """

    def __init__(self, ops: Iterable[Any]) -> None:
        self._order: dict[int, int] = {}
        self._made: dict[int, bool] = {}  # ops that see no activations -> whether they see parameters
        self._rounded: dict[str, tuple[Any, Any]] = {}  # mark -> the ops between which a value is rounded
        for place, op in enumerate(ops):
            self._order[op.id()] = place
            self._note(op)

    def of(self, value: Any) -> tuple[Role, int, tuple[Role, ...]]:
        """The role of a parameter, where in the Program it is first read in that role, and all its roles as a weight.

        A weight that is read twice (shared, or penalised in the loss) keeps the role of its first reader that makes it
        a weight; only a parameter that no known op reads is "unknown".
        """
        found = sorted(
            ((self._order.get(op.id(), len(self._order)), role) for op, role in self.readings(value)), key=_first
        )
        weights = [(place, role) for place, role in found if role.role in WEIGHT_ROLES]
        broken = [(place, role) for place, role in found if role.broken]
        named = [(place, role) for place, role in found if role.role != "unknown"]
        for place, role in (*weights, *broken, *named, *found):
            every = tuple(role for _, role in weights)
            return _multiplied(role, every), place, every
        return Role("unused", ""), len(self._order), ()

    def readings(self, value: Any) -> Iterator[tuple[Any, Role]]:
        """Every forward op that reads a parameter, directly or behind ops that leave it a weight."""
        rank = len(value.shape)
        source = next((op for op in value.all_used_ops() if overwrites(op, value)), None)
        path = WeightPath(tuple(range(rank)), (0,) * rank)
        if source is not None and not any(one.is_same(value) for one in all_behind(source.operand_source(0))):
            path = path._replace(broken=f"{source.name()} writes it anew at every run")
        yield from self._follow(value, path, set(), rank, 0)

    def is_made_of_params(self, value: Any) -> bool:
        """Whether a value is a parameter, or computed from parameters and constants alone."""
        producer = value.get_defining_op()
        return producer is not None and self._made.get(producer.id(), False)

    # -- what sees activations

    def _note(self, op: Any) -> None:
        name = op.name()
        if begins(op):
            self._rounded[begins(op)] = op, op
        if ends(op) in self._rounded:
            begin, _ = self._rounded[ends(op)]
            self._rounded[ends(op)] = begin, op
            if begin.id() in self._made:
                self._made[op.id()] = self._made[begin.id()]
        elif name == "builtin.parameter":
            self._made[op.id()] = True
        elif name == "pd_op.data":
            if op.result(0).persistable:
                self._made[op.id()] = True
        elif kind_of(op) in _NUMBERS:
            self._made[op.id()] = False
        elif not list(op.blocks()):
            producers = [source.get_defining_op() for source in op.operands_source() if source.initialized()]
            known = [None if producer is None else self._made.get(producer.id()) for producer in producers]
            if None not in known:
                self._made[op.id()] = any(known)

    def _is_pure(self, value: Any) -> bool:
        """Whether no activation is in the value: parameters, constants, or both."""
        producer = value.get_defining_op()
        return producer is not None and producer.id() in self._made

    # -- the way of a weight

    def _follow(
        self, value: Any, path: WeightPath, seen: set[int], rank: int, depth: int
    ) -> Iterator[tuple[Any, Role]]:
        for op in value.all_used_ops():
            if is_bookkeeping(op, value):
                continue
            if overwrites_another(op, value):
                yield op, Role("unknown", op.name(), broken=_COPIED.format(op.name()))
                continue
            if op.name() == "builtin.combine":
                uses = [use for use in op.result(0).all_used_ops() if not is_bookkeeping(use, op.result(0))]
                steps = [(use, self._list(use, op, value, path)) for use in uses]
            else:
                steps = [(op, self._step(op, value, path, rank))]
            for reader, step in steps:
                if isinstance(step, Role):
                    yield reader, step if not step.broken else Role("unknown", step.reader, broken=step.broken)
                elif reader.id() not in seen and depth < 64:
                    seen.add(reader.id())
                    if kind_of(reader) in _PRODUCTS or kind_of(reader) == "einsum":  # of parameters alone
                        yield from self._product_of_params(reader, value, path, seen, rank, depth)
                    else:
                        for result, behind in step:
                            yield from self._follow(result, behind, seen, rank, depth + 1)

    def _product_of_params(
        self, op: Any, value: Any, path: WeightPath, seen: set[int], rank: int, depth: int
    ) -> Iterator[tuple[Any, Role]]:
        """A weight that is a product of parameters (low rank), or a number that is one (power iteration)."""
        result = op.result(0)
        lost = path.by(op, (-1,) * len(result.shape))
        behind = {role.role for _, role in self._follow(result, lost, seen, rank, depth + 1)}
        counts = behind - {"weight scale", "weight offset", "unknown"}
        yield op, self._named(op, value, path, rank) if counts else Role("unknown", op.name(), broken=_FACTOR_ONLY)

    def _step(self, op: Any, value: Any, path: WeightPath, rank: int) -> _Step:
        """What the op makes of the value: a role, or other values through which the weight passes."""
        kind, place = kind_of(op), operand_of(op, value)
        if begins(op):
            _, end = self._rounded[begins(op)]
            return [(end.result(0), path.rounded(loses_zeros(end)))]
        if place == 0 and kind in _MOVES:
            return [(op.result(0), path.moved(op, kind))]
        if place == 0 and kind in _KEEPS:
            return [(op.result(0), path if kind == WEIGHT_ROUNDING else path.by(op))]
        if place == 0 and kind in ("pad", "slice", "strided_slice", "gather", "gather_nd", "index_select", *_LISTS):
            return self._parts(op, kind, path)
        if kind == "scale" and place == 0 and self._is_pure(op.operand_source(1)):
            moved = "adds a number to every weight" if op.attrs()["bias"] else ""
            return [(op.result(0), path.by(op, broken=moved))]
        if kind == "spectral_norm" and slot_of(op, value) == "weight":
            return [(op.result(0), path.by(op))]
        if kind in _SUMS | _FACTORS:
            return self._elementwise(op, kind, value, path, rank)
        if self._is_product_of_params(op, kind, value):
            return []
        return self._named(op, value, path, rank)

    def _elementwise(self, op: Any, kind: str, value: Any, path: WeightPath, rank: int) -> _Step:
        place = operand_of(op, value)
        other, result = op.operand_source(1 - place), op.result(0)
        if other.is_same(value):
            return [(result, path.by(op))] if kind in ("multiply", "add") else Role("unknown", op.name())
        if not self._is_pure(other):
            return Role("bias" if kind in _SUMS else "scale", op.name())
        if list(value.shape) != list(result.shape):  # spread over something larger: the other one is the weight
            return Role("weight scale" if kind in _FACTORS else "weight offset", op.name())
        if kind == "divide" and place == 1:
            return Role("unknown", op.name())
        if kind in _FACTORS:
            return [(result, path if is_dequantization(op) else self._by_norm(op, other, value, path).by(op))]
        # A sum of weights is a weight; a number, or a mean, that is taken from every weight moves its zeros.
        is_weight = self.is_made_of_params(other) and list(other.shape) == list(result.shape)
        does = "adds something to" if kind == "add" else "takes something from"
        return [(result, path.by(op, broken="" if is_weight else f"{does} every weight"))]

    def _by_norm(self, op: Any, norm: Any, value: Any, path: WeightPath) -> WeightPath:
        """Notes it if the value is divided by norms of its own that have no epsilon."""
        behind = all_behind(norm)
        makers = {kind_of(source.get_defining_op()) for source in behind}
        divides = kind_of(op) == "divide" or makers & {"rsqrt", "reciprocal"}
        if path.normed or not divides or prod(norm.shape) >= prod(value.shape) or makers & _FLOORS:
            return path
        shifted = (source.get_defining_op() for source in behind if kind_of(source.get_defining_op()) == "scale")
        params = [source for source in all_behind(value) if is_parameter(source)]
        own = any(source.is_same(param) for source in behind for param in params)
        if not own or any(op.attrs()["bias"] for op in shifted):
            return path
        extents = [*[1] * (len(value.shape) - len(norm.shape)), *norm.shape]
        return path._replace(normed=tuple(axis for axis, n in zip(path.axes, extents) if n > 1 and axis >= 0))

    def _parts(self, op: Any, kind: str, path: WeightPath) -> _Step:
        axes, extents = path.axes, list(op.operand_source(0).shape)
        if kind == "pad":
            before = op.attrs()["paddings"][::2]
            for i, shift in enumerate(before):
                path = path.cut(i, shift, shift + extents[i]) if op.result(0).shape[i] != extents[i] else path
            return [(op.result(0), path.by(op))]
        if kind in ("slice", "strided_slice"):
            return [(op.result(0), sliced(op, path, extents))]
        if kind in ("gather", "gather_nd", "index_select"):
            return self._gathered(op, kind, path)
        results = taken_apart(op.result(0))
        axis = axis_of(op, len(extents))
        if axis is None:
            return Role("unknown", op.name())
        if kind == "unbind":
            return [(result, path.by(op, axes[:axis] + axes[axis + 1 :])) for result in results]
        ends = list(accumulate(result.shape[axis] for result in results))
        return [(result, path.cut(axis, end - result.shape[axis], end).by(op)) for result, end in zip(results, ends)]

    def _gathered(self, op: Any, kind: str, path: WeightPath) -> _Step:
        """Rows by number: those that the input asks for make it an embedding."""
        index = op.operand_source(1)
        if not self._is_pure(index):
            if len(path.axes) == 2 and (kind != "gather_nd" or index.shape[-1] == 1):
                return Role("embedding", op.name(), *stored_axes(path.axes, 1, 0), through=path.through)
            return Role("unknown", op.name())
        kept = path.axes[index.shape[-1] :] if kind == "gather_nd" else None
        lost = (-1,) * len(op.result(0).shape) if kept is None else (-1,) * (len(index.shape) - 1) + kept
        return [(op.result(0), path.by(op, lost))]

    def _list(self, op: Any, combine: Any, value: Any, path: WeightPath) -> _Step:
        """What an op makes of a value that it reads in a list."""
        kind, members = kind_of(op), combine.operands_source()
        if kind in ("rnn", "cudnn_lstm"):  # those of an LSTM or GRU, [gates * hidden, input], and biases
            return _role("rnn", op, path, 0, 1) if len(value.shape) == 2 else Role("bias", op.name())
        if kind == "einsum":
            return self._einsum(op, members, value, path)
        if kind not in ("concat", "stack", "add_n"):
            return Role("unknown", op.name())
        if not all(self._is_pure(member) for member in members):
            return Role("bias" if kind == "add_n" else "token", op.name())
        result, place = op.result(0), next(i for i, member in enumerate(members) if member.is_same(value))
        axis = axis_of(op, len(result.shape))
        if kind == "add_n":
            return [(result, path.by(op))]
        if axis is None:
            return Role("unknown", op.name())
        if kind == "stack":
            return [(result, path.by(op, (*path.axes[:axis], -1, *path.axes[axis:])))]
        start = sum(member.shape[axis] for member in members[:place])
        return [(result, path.cut(axis, start, start + value.shape[axis]).by(op))]

    def _einsum(self, op: Any, members: Sequence[Any], value: Any, path: WeightPath) -> _Step:
        """A product whose letters say which axes are summed over."""
        if all(map(self.is_made_of_params, members)):
            return []
        place = next(i for i, member in enumerate(members) if member.is_same(value))
        terms, _, output = op.attrs()["equation"].replace(" ", "").partition("->")
        own = terms.split(",")[place]
        if "." in terms or not output or len(set(own)) < len(own):
            return Role("unknown", op.name())
        others = set("".join(term for i, term in enumerate(terms.split(",")) if i != place))
        summed = [i for i, letter in enumerate(own) if letter in others and letter not in output]
        free = [i for i, letter in enumerate(own) if letter in output and letter not in others]
        if not summed:
            return Role("scale", op.name())
        return _role("linear", op, path, free[-1] if free else -1, summed[0] if len(summed) == 1 else -1)

    def _is_product_of_params(self, op: Any, kind: str, value: Any) -> bool:
        factors = [source for source in op.operands_source() if not source.is_same(value)] if kind in _PRODUCTS else []
        return bool(factors) and slot_of(op, value) in _PRODUCTS[kind] and all(map(self.is_made_of_params, factors))

    # -- the op that makes it what it is

    def _named(self, op: Any, value: Any, path: WeightPath, rank: int) -> Role:
        name, slot = kind_of(op), slot_of(op, value)
        if name in _CONVS and slot == "filter":
            return _conv(op, name, path)
        if name in _PRODUCTS and slot in _PRODUCTS[name]:
            return _product(op, slot == _PRODUCTS[name][0], path)
        if name == "embedding" and slot == "weight":
            return _role("embedding", op, path, 1, 0)
        if name == "prelu" and slot == "alpha":
            return Role("prelu alpha", op.name())
        if "norm" in name and slot in _NORM_SLOTS:
            return Role(_NORM_SLOTS[slot], op.name())
        if slot in ("bias", "bias_e") or (name in ("addmm", "baddbmm") and slot == "input"):
            return Role("bias", op.name())
        return Role("unknown", op.name())


def _role(name: str, op: Any, path: WeightPath, output: int, contracted: int, groups: int = 1, run: int = 0) -> Role:
    axes = stored_axes(path.axes, output, contracted)
    seam = gcd(run, 0 if axes[1] is None else path.seams[axes[1]])
    return Role(name, op.name(), *axes, groups, seam, path.through, path.broken, path.normed)


def _conv(op: Any, name: str, path: WeightPath) -> Role:
    groups, (output, contracted) = int(op.attrs().get("groups", 1)), _CONVS[name]
    role = "conv2d" if name == "fused_conv2d_add_act" else name
    # A transposed convolution stores the inputs of all groups on one axis, and each group sums over its own.
    run = op.operand_source(1).shape[0] // groups if groups > 1 and contracted == 0 else 0
    return _role(role, op, path, output, contracted, groups, run)


def _product(op: Any, left: bool, path: WeightPath) -> Role:
    """x @ y contracts the last axis of x with the last but one of y; transposes swap them."""
    attrs, rank = op.attrs(), len(path.axes)
    flag = ("transpose_x", "trans_x") if left else ("transpose_y", "trans_y")
    swapped = any(attrs.get(f, False) for f in flag)
    if rank == 1:
        return _role("linear", op, path, -1, 0)
    output, contracted = (rank - 2, rank - 1) if left != swapped else (rank - 1, rank - 2)
    return _role("linear", op, path, output, contracted)


def _multiplied(role: Role, every: Sequence[Role]) -> Role:
    """An embedding that is also multiplied (a tied output layer) has the axes of the product."""
    product = next((other for other in every if other.role != "embedding"), role)
    if role.role != "embedding":
        return role
    return role._replace(output_axis=product.output_axis, input_axis=product.input_axis)


def _first(entry: tuple[int, Role]) -> int:
    return entry[0]
