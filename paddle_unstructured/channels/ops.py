# SPDX-License-Identifier: Apache-2.0
"""An activation with the channels of a layer on one of its axes, and the ops that keep channels apart."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from ..graph.values import RESHAPES, channel_axis, forward_uses, kind_of, numbers
from .labels import Carrier

JOINS = {"add", "subtract", "multiply", "divide", "maximum", "minimum"}
VECTORS = {"batch_norm": (1, 2, 3, 4), "sync_batch_norm": (1, 2, 3, 4), "instance_norm": (1, 2)}  # operands
_ELEMENTWISE = {
    "abs",
    "assign",
    "cast",
    "celu",
    "clip",
    "dropout",
    "elu",
    "erf",
    "exp",
    "gelu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "log1p",
    "logsigmoid",
    "mish",
    "pow",
    "relu",
    "relu6",
    "rsqrt",
    "scale",
    "selu",
    "share_data",
    "sigmoid",
    "silu",
    "softplus",
    "softshrink",
    "softsign",
    "sqrt",
    "square",
    "stanh",
    "swish",
    "tanh",
    "tanh_shrink",
    "thresholded_relu",
}
_SPATIAL = {
    "bicubic_interp",
    "bilinear_interp",
    "linear_interp",
    "lp_pool2d",
    "max_pool2d_with_index",
    "max_pool3d_with_index",
    "nearest_interp",
    "pad3d",
    "pool2d",
    "pool3d",
    "trilinear_interp",
}
_REDUCTIONS = {"mean", "sum", "max", "min", "amax", "amin"}


class Fixed(Exception):
    """Why the output channels of a layer cannot be followed."""


class Movable(Fixed):
    """Only their number counts: none can be removed, but they may change places."""


def behind(op: Any, at: Carrier) -> Carrier:
    """The channels in the result of an op that mixes none of them and has no numbers per channel.

    Raises:
        Fixed: The op is not of that kind.
    """
    kind = kind_of(op)
    is_first = op.num_operands() > 0 and op.operand_source(0).is_same(at.value)
    if kind not in _STEPS or not is_first or any(forward_uses(result) for result in op.results()[1:]):
        raise unknown(op)
    return _STEPS[kind](op, at)


def is_elementwise(op: Any) -> bool:
    return kind_of(op) in _ELEMENTWISE


def _elementwise(op: Any, at: Carrier) -> Carrier:
    return replace(at, value=op.result(0))


def _spatial(op: Any, at: Carrier) -> Carrier:
    if at.axis != channel_axis(op, at.value):
        raise unknown(op)
    return replace(at, value=op.result(0))


def _pad(op: Any, at: Carrier) -> Carrier:
    if any(op.attrs()["paddings"][2 * at.axis : 2 * at.axis + 2]):
        raise unknown(op)
    return replace(at, value=op.result(0))


def _transpose(op: Any, at: Carrier) -> Carrier:
    rank = len(at.value.shape)
    return replace(at, value=op.result(0), axis=[i % rank for i in op.attrs()["perm"]].index(at.axis))


def _reduce(op: Any, at: Carrier) -> Carrier:
    axes = op.attrs().get("axis")
    if axes is None:
        axes = numbers(op.operand_source(1))
    reduced = {i % len(at.value.shape) for i in axes or ()}
    if not reduced or at.axis in reduced:
        raise unknown(op)
    before = 0 if op.attrs()["keepdim"] else sum(i < at.axis for i in reduced)
    return replace(at, value=op.result(0), axis=at.axis - before)


def _reshape(op: Any, at: Carrier) -> Carrier:
    """In memory the channel of element f is (f // stride) % channels, before and after; so is it along an axis whose
    extent is a multiple of channels x inner, if inner x the extents behind it are the stride."""
    after, shape = at.value.shape[at.axis + 1 :], op.result(0).shape
    stride = at.inner * prod(after)
    for axis in reversed(range(len(shape))):
        rest = prod(shape[axis + 1 :])
        if min([*after, *shape[axis:]]) < 1 or stride % rest:
            break
        inner = stride // rest
        if shape[axis] % (at.channels * inner) == 0:
            return Carrier(op.result(0), axis, at.channels, shape[axis] // (at.channels * inner), inner)
    raise Fixed(f"{op.name()} splits its outputs, or has a shape that is not known")


def _unsqueeze(op: Any, at: Carrier) -> Carrier:
    """By axes, so that extents need not be known: F.pad and Conv1D come with an axis more, and give it back."""
    axes, rank = numbers(op.operand_source(1)), len(op.result(0).shape)
    if axes is None:
        return _reshape(op, at)
    kept = sorted(set(range(rank)) - {axis % rank for axis in axes})
    return replace(at, value=op.result(0), axis=kept[at.axis])


def _squeeze(op: Any, at: Carrier) -> Carrier:
    axes, shape = numbers(op.operand_source(1)), at.value.shape
    if not axes:  # all axes of one element: which they are must be known
        return _reshape(op, at)
    gone = {axis % len(shape) for axis in axes if shape[axis] == 1}
    if at.axis in gone or len(op.result(0).shape) != len(shape) - len(gone):
        raise unknown(op)
    return replace(at, value=op.result(0), axis=at.axis - sum(axis < at.axis for axis in gone))


_STEPS = {
    "pad": _pad,
    "transpose": _transpose,
    **dict.fromkeys(RESHAPES, _reshape),
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(_SPATIAL, _spatial),
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
}


def unknown(op: Any) -> Fixed:
    """The refusal of an op; a list's is that of the op that takes the list."""
    takers = op.result(0).all_used_ops() if op.name() == "builtin.combine" else []
    return Fixed(f"its outputs reach {(takers or [op])[0].name()}")


def is_tested(op: Any) -> bool:
    """Whether a norm uses its running statistics, or has none."""
    attrs = op.attrs()
    return "is_test" not in attrs or attrs["is_test"] or attrs["use_global_stats"]
