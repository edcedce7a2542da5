# SPDX-License-Identifier: Apache-2.0
"""What an op makes of channels that are the same number everywhere, found by running the op on one number each."""

from __future__ import annotations

from math import lcm, prod
from typing import Any, Mapping

import numpy as np
import paddle

from ..graph.values import RESHAPES, exists, kind_of
from .labels import Carrier
from .ops import is_elementwise

_EXACT = ("float32", "float64")


def evaluate(op: Any, given: Mapping[int, np.ndarray]) -> np.ndarray | None:
    """Run one op of a Program.

    Args:
        op: It stays where it is; a clone of it runs.
        given: Operand -> its value. The others must be constants of the Program (a `full`, say).

    Returns:
        Its first result; None if an operand is not known, or the host cannot compute it (half precision, an op that
        only GPUs have).
    """
    program, feed, mapping = paddle.static.Program(), {}, paddle.pir.IrMapping()
    copied = paddle.base.libpaddle.pir.CloneOptions(False, True, True)
    with paddle.static.program_guard(program, paddle.static.Program()):
        for i, source in enumerate(op.operands_source()):
            producer = source.get_defining_op() if exists(source) else None
            dtype = str(source.dtype).split(".")[-1].lower() if i in given else ""
            if i in given and dtype in _EXACT:
                feed[f"operand_{i}"] = np.asarray(given[i], dtype, order="C")
                mapping.add(source, paddle.static.data(f"operand_{i}", list(given[i].shape), dtype))
            elif producer is not None and i not in given and producer.num_operands() == 0 and "full" in producer.name():
                mapping.add(source, producer.clone(paddle.pir.IrMapping(), copied).result(0))
            elif exists(source):
                return None
        result = op.clone(mapping, copied).result(0)
    run = paddle.static.Executor(paddle.CPUPlace()).run
    try:
        return np.array(run(program, feed=feed, fetch_list=[result], scope=paddle.static.Scope())[0], np.float64)
    except RuntimeError:  # no such kernel
        return None


def along(constants: np.ndarray, rank: int, axis: int) -> np.ndarray:
    """A number per channel, as an activation of that rank with one element on every other axis; 0 where it varies."""
    shape = [1] * rank
    shape[axis] = len(constants)
    return np.asarray(np.nan_to_num(constants).reshape(shape))


def passed_on(op: Any, before: Carrier, after: Carrier, constants: np.ndarray) -> np.ndarray:
    """Constants behind an op that keeps channels apart, [after.extent]; NaN where they vary."""
    kind, attrs = kind_of(op), op.attrs()
    if kind in ("squeeze", "unsqueeze") and before.extent == after.extent:
        return constants
    if kind in RESHAPES:
        return _regrouped(constants, before, after)
    if is_elementwise(op):
        if np.isnan(constants).all() or (kind == "dropout" and not attrs["is_test"]):
            return np.full(after.extent, np.nan)
        result = evaluate(op, {0: along(constants, len(before.value.shape), before.axis)})
        return where_known(constants, result)
    stays = {
        **dict.fromkeys(("pool2d", "pool3d"), _is_plain_average),
        **dict.fromkeys(("pad", "sum", "lp_pool2d"), lambda op: False),
        "pad3d": _is_extension,
    }
    if kind not in stays or stays[kind](op):
        return constants
    return np.where(constants == _outside(op), constants, np.nan)


def _outside(op: Any) -> float:
    """What an op puts around its input; a sum, or an average over zeros as well, leaves only zeros what they are."""
    if kind_of(op) != "pad":
        return float(op.attrs().get("pad_value", 0.0))
    given = op.operand_source(1).get_defining_op()
    return given.attrs()["value"] if given is not None and given.name() == "pd_op.full" else np.nan


def weighed(taps: np.ndarray, constants: np.ndarray, padded: bool) -> np.ndarray:
    """The layer's outputs where all inputs with a weight are constants: sum_j c_j sum_k taps[o, j, k]; NaN elsewhere.

    Under zero padding only c_j = 0 gives the same at the border as in the middle.
    """
    varies = np.isnan(constants) | (padded & (constants != 0))
    known = ~any_tap(taps)[:, varies].any(1)
    outputs = np.full(len(taps), np.nan)
    counted = ~varies & (constants != 0)
    outputs[known] = taps[np.ix_(known, counted)].sum(2, dtype=np.float64) @ constants[counted]
    return outputs


def any_tap(taps: np.ndarray) -> np.ndarray:
    """Which outputs read which inputs, bool [outputs, inputs]."""
    read = (taps != 0).any(2) if taps.shape[2] > 1 else taps[:, :, 0] != 0  # reducing one element is slow
    return np.ascontiguousarray(read)


def where_known(constants: np.ndarray, result: np.ndarray | None) -> np.ndarray:
    """The result, or NaN where a constant that it was made of is one."""
    return np.full(len(constants), np.nan) if result is None else np.where(np.isnan(constants), np.nan, result.ravel())


def result_of(op: Any, given: dict[int, np.ndarray], constants: np.ndarray) -> np.ndarray:
    if np.isnan(constants).all():
        return constants
    return where_known(constants, evaluate(op, given))


def _is_plain_average(op: Any) -> bool:
    """Whether a pooling window holds nothing but elements of the input, or ignores the rest."""
    attrs = op.attrs()
    if attrs["pooling_type"] == "max" or attrs["adaptive"] or attrs["global_pooling"] or attrs["exclusive"]:
        return True
    return not any(attrs["paddings"]) and not attrs["ceil_mode"] and attrs["padding_algorithm"] != "SAME"


def _is_extension(op: Any) -> bool:
    return bool(op.attrs()["mode"] != "constant")


def _regrouped(constants: np.ndarray, before: Carrier, after: Carrier) -> np.ndarray:
    """By memory: an element of the new axis is constant if all that it covers of the old one is the same constant."""
    old, new = (prod(at.value.shape[at.axis + 1 :]) for at in (before, after))
    element = np.arange(lcm(before.extent * old, after.extent * new))
    values, place = constants[element // old % before.extent], element // new % after.extent
    low, high = np.full(after.extent, np.inf), np.full(after.extent, -np.inf)
    np.minimum.at(low, place, np.where(np.isnan(values), -np.inf, values))
    np.maximum.at(high, place, np.where(np.isnan(values), np.inf, values))
    return np.where(low == high, low, np.nan)
