"""What a parameter is for, read off the PIR ops that use it."""

from __future__ import annotations

from typing import Any, Iterator, NamedTuple

import paddle

from .base import WEIGHT_ROLES

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
    "fused_gemm_epilogue": ("x", "y"),
    "fc": ("input", "w"),
}
WEIGHT_ROUNDING = "fake_channel_wise_quantize_dequantize_abs_max"  # of quantization-aware training
_TRANSPARENT = {
    WEIGHT_ROUNDING,
    "cast",
    "assign",
    "share_data",
    "reshape",
    "unsqueeze",
    "squeeze",
    "transpose",
    "expand",
    "tile",
    "flatten",
    "contiguous",
}
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
_ELEMENTWISE = {"add": "bias", "subtract": "bias", "multiply": "scale", "divide": "scale"}


class Role(NamedTuple):
    role: str
    reader: str
    output_axis: int | None = None
    input_axis: int | None = None
    groups: int = 1


def role_of(value: Any, order: dict[int, int]) -> tuple[Role, int]:
    """The role of a parameter's value, and where in the Program it is first read in that role.

    A weight that is read twice (shared, or penalised in the loss) keeps the role of its first reader that makes it a
    weight; only a parameter that no known op reads is "unknown".
    """
    found = sorted(((order.get(op.id(), len(order)), role) for op, role in readings(value)), key=lambda f: f[0])
    for wanted in (WEIGHT_ROLES, None):
        for place, role in found:
            if (role.role in wanted) if wanted else role.role != "unknown":
                return role, place
    if found:
        return found[0][1], found[0][0]
    return Role("unused", ""), len(order)


def readings(
    value: Any, axes: tuple[int, ...] | None = None, rank: int | None = None, depth: int = 0
) -> Iterator[tuple[Any, Role]]:
    """Every forward op that reads the value, directly or through casts, reshapes and transposes."""
    axes = tuple(range(len(value.shape))) if axes is None else axes
    rank = len(value.shape) if rank is None else rank  # of the parameter itself
    for op in value.all_used_ops():
        name = _kind(op)
        if _is_bookkeeping(op, value):
            continue
        if op.name() == "builtin.combine":
            yield from _readings_of_list(op, value)
        elif (name in _TRANSPARENT or is_dequantization(op)) and depth < 8 and _operand(op, value) == 0:
            yield from readings(op.result(0), axes_after(op, name, axes), rank, depth + 1)
        else:
            yield op, _named(op, name, value, axes, rank)


def writes(op: Any, value: Any) -> bool:
    """Whether the op updates the value in place: an optimizer's update, an assignment, our own mask."""
    if not op.name().endswith("_") or "norm" in op.name():
        return False
    return _operand(op, value) == (1 if op.name() == "pd_op.assign_out_" else 0)


def is_dequantization(op: Any) -> bool:
    """Whether the op is cast(int8 parameter) * scale, another parameter: a weight as `export.int8` stores it."""
    if op.name() != "pd_op.multiply":
        return False
    cast = op.operand_source(0).get_defining_op()
    if cast is None or cast.name() != "pd_op.cast" or not _is_parameter(op.operand_source(1)):
        return False
    return cast.operand_source(0).dtype == paddle.int8 and _is_parameter(cast.operand_source(0))


def _is_parameter(value: Any) -> bool:
    producer = value.get_defining_op()
    return producer is not None and producer.name() == "builtin.parameter"


def is_learning_rate(value: Any) -> bool:
    return any(_slot(op, value) == "learning_rate" for op in value.all_used_ops())


def _is_bookkeeping(op: Any, value: Any) -> bool:
    """Backward, optimizer and stack ops: they do not say what a parameter is for."""
    return "_grad" in op.name() or op.name().startswith("cf.") or writes(op, value)


def _kind(op: Any) -> str:
    """pd_op.add_ -> add."""
    return str(op.name().split(".")[-1].rstrip("_"))


def _named(op: Any, name: str, value: Any, axes: tuple[int, ...], rank: int) -> Role:
    slot = _slot(op, value)
    if name in _CONVS and slot == "filter":
        return _conv(op, name, axes)
    if name in _PRODUCTS and slot in _PRODUCTS[name]:
        return _product(op, left=slot == _PRODUCTS[name][0], axes=axes)
    if name == "embedding" and slot == "weight":
        return Role("embedding", op.name(), *_stored(axes, 1, 0))
    if name == "prelu" and slot == "alpha":
        return Role("prelu alpha", op.name())
    if "norm" in name and slot in _NORM_SLOTS:
        return Role(_NORM_SLOTS[slot], op.name())
    if slot in ("bias", "bias_e") or (name == "addmm" and slot == "input"):
        return Role("bias", op.name())
    if is_dequantization(op):
        return Role("weight scale", op.name())
    if name in _ELEMENTWISE and _meets_activations(op, value, rank):
        return Role(_ELEMENTWISE[name], op.name())
    return Role("unknown", op.name())


def _conv(op: Any, name: str, axes: tuple[int, ...]) -> Role:
    groups = int(op.attrs().get("groups", 1))
    role = "conv2d" if name == "fused_conv2d_add_act" else name
    return Role(role, op.name(), *_stored(axes, *_CONVS[name]), groups)


def _product(op: Any, left: bool, axes: tuple[int, ...]) -> Role:
    """x @ y contracts the last axis of x with the last but one of y; transposes swap them."""
    attrs = op.attrs()
    flag = ("transpose_x", "trans_x") if left else ("transpose_y", "trans_y")
    swapped = any(attrs.get(f, False) for f in flag)
    if len(axes) == 1:
        return Role("linear", op.name(), None, axes[0])
    rows, columns = len(axes) - 2, len(axes) - 1
    output, contracted = (rows, columns) if left != swapped else (columns, rows)
    return Role("linear", op.name(), *_stored(axes, output, contracted))


def _readings_of_list(op: Any, value: Any) -> Iterator[tuple[Any, Role]]:
    """Weights that enter an op in a list: those of an LSTM or GRU, [gates*hidden, input] and biases."""
    for reader in op.result(0).all_used_ops():
        if _is_bookkeeping(reader, op.result(0)):
            continue
        if _kind(reader) in ("rnn", "cudnn_lstm"):
            yield reader, (Role("rnn", reader.name(), 0, 1) if len(value.shape) == 2 else Role("bias", reader.name()))
        else:
            yield reader, Role("unknown", reader.name())


def axes_after(op: Any, name: str, axes: tuple[int, ...]) -> tuple[int, ...]:
    """Which stored axis each axis of the op's result is; -1 for one that is not a stored axis."""
    if name == "transpose":
        return tuple(axes[i] for i in op.attrs()["perm"])
    before, after = list(op.operand_source(0).shape), list(op.result(0).shape)
    if before == after:
        return axes
    kept = [i for i, extent in enumerate(before) if extent != 1]
    real = [i for i, extent in enumerate(after) if extent != 1]
    if [before[i] for i in kept] != [after[i] for i in real]:
        return (-1,) * len(after)
    result = [-1] * len(after)
    for old, new in zip(kept, real):
        result[new] = axes[old]
    # Axes of one element: keep those that stayed in place, so that a conv1d's [out, 1, k] is still understood.
    for i, extent in enumerate(before):
        if extent == 1 and i < len(after) and after[i] == 1 and result[i] == -1:
            result[i] = axes[i]
    return tuple(result)


def _stored(axes: tuple[int, ...], output: int, contracted: int) -> tuple[int | None, int | None]:
    found = tuple(axes[i] if 0 <= i < len(axes) and axes[i] >= 0 else None for i in (output, contracted))
    return found  # type: ignore[return-value]


def _operand(op: Any, value: Any) -> int:
    return next((i for i, source in enumerate(op.operands_source()) if source.is_same(value)), -1)


def slots(op: Any) -> list[str]:
    """Names of an op's operands; none for ops without a yaml entry (builtin, custom)."""
    try:
        return list(op.get_input_names())
    except ValueError:
        return []


def _slot(op: Any, value: Any) -> str:
    names, place = slots(op), _operand(op, value)
    return names[place] if 0 <= place < len(names) else ""


def _meets_activations(op: Any, value: Any, rank: int) -> bool:
    """Whether an elementwise op joins the value with activations, and not with another parameter or with itself."""
    other = op.operand_source(1 - _operand(op, value)).get_defining_op()
    if other is not None and other.name() == "builtin.parameter":
        return False
    return rank == 1 or list(op.result(0).shape) != list(value.shape)
