# SPDX-License-Identifier: Apache-2.0
"""What a user's own pattern and allocation give, looked at before anything is changed by it."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
import paddle
from paddle import Tensor

from ..allocation import Allocation, OwnSparsity, Quota
from ..arguments import flag, fraction, function, shown, whole
from ..graph import Param
from ..patterns import Pattern
from ..ranking.cut import Cut, Size


def reason_of(pattern: Pattern, param: Param) -> str | None:
    """Why the pattern leaves a param alone, or None.

    Raises:
        TypeError: Neither text nor None.
    """
    found = pattern.check(param)
    if not (found is None or isinstance(found, str)):
        raise _refused("pattern.check", f"a reason or None for {param.name}", shown(found), TypeError)
    return found


def limit_of(pattern: Pattern, param: Param) -> int:
    """How many weights may fall at most.

    Raises:
        ValueError: No number from 0 to that of the weights.
    """
    rule = f"a function that gives a number of weights, 0 to {param.size} for {param.name}"
    return whole("pattern.limit", pattern.limit(param), least=0, most=param.size, rule=rule)


def units_of(pattern: Pattern, scores: Tensor, param: Param, mask: Tensor) -> tuple[Tensor, Tensor, Size]:
    """Scores of units, which of them are alive, and weights per unit.

    Raises:
        TypeError, ValueError: No tensors of one shape, or other numbers of weights than there are.
    """
    units, alive = pattern.units(scores, param, mask), pattern.alive(mask, param)
    if is_ours(pattern):
        return units, alive, pattern.size(param)
    _check("pattern.units", units, f"a score for each unit of {param.name}")
    if bool(paddle.any(paddle.isnan(units))) and not bool(paddle.any(paddle.isnan(scores))):
        raise _refused("pattern.units", f"a tensor of a score for each unit of {param.name}", "NaN")
    _check("pattern.alive", alive, f"1 or 0 for each unit of {param.name}", units.shape, binary=True)
    return units, alive, _size(pattern, param, units)


def decided(allocation: Allocation, units: list[Tensor], alive: list[Tensor], sizes: list[Size], budget: Quota) -> Cut:
    """Who stays.

    Raises:
        TypeError, ValueError: No `Cut` with a mask of each layer's units.
    """
    found = allocation.decide(units, alive, sizes, budget)
    if is_ours(allocation):
        return found
    rule = f"a Cut with one mask for each of the {len(units)} layers, as `by_rank` gives it"
    if not isinstance(found, Cut):
        raise _refused("allocation.decide", rule, shown(found), TypeError)
    if len(found.keep) != len(units):
        raise _refused("allocation.decide", rule, f"{len(found.keep)} masks")
    for i, (keep, of) in enumerate(zip(found.keep, units)):
        _check("allocation.decide", keep, f"1 or 0 for each unit of layer {i}", of.shape, binary=True)
    return found


def budget_of(allocation: Allocation, params: Sequence[Param], sparsity: float, limits: Sequence[int]) -> Quota:
    """What may fall.

    Raises:
        TypeError, ValueError: No `Quota` with a number for each layer.
    """
    found = allocation.budget(params, sparsity, limits)
    rule = f"a Quota with `low` and `high` for each of the {len(params)} layers"
    if not isinstance(found, Quota):
        raise _refused("allocation.budget", rule, shown(found), TypeError)
    if any(np.shape(ends) != (len(params),) for ends in (found.low, found.high)):
        raise _refused("allocation.budget", rule, f"shapes {np.shape(found.low)} and {np.shape(found.high)}")
    if not is_ours(allocation):
        _check_quota(found, params)
    return found


def due_of(allocation: Allocation, step: int, sparsity: float, applied: float) -> bool:
    """Whether the masks are to be updated.

    Raises:
        TypeError: It gives neither True nor False.
    """
    found = allocation.due(step, sparsity, applied)
    return flag("allocation.due", found, rule=f"a function that gives True or False at step {step}")


def sparsity_of(allocation: OwnSparsity, params: Sequence[Param]) -> float:
    """The overall sparsity that an allocation means by itself.

    Raises:
        ValueError: No fraction.
    """
    sparsity = function("allocation.sparsity", allocation.sparsity, takes=["params"])
    return fraction("allocation.sparsity", sparsity(params), rule="a function that gives a fraction of zeros in [0, 1]")


def _check_quota(quota: Quota, params: Sequence[Param]) -> None:
    for low, high, param in zip(quota.low, quota.high, params):
        within = f"a Quota of numbers of weights, 0 <= low <= high <= {param.size} for {param.name}"
        rule = f"a function that gives {within}"
        ends = [whole("allocation.budget", end, most=param.size, rule=rule) for end in (low, high)]
        if ends[0] > ends[1]:
            raise _refused("allocation.budget", within, f"low {low} and high {high}")
    least, most = int(np.sum(quota.low)), int(np.sum(quota.high))
    rule = f"a function that gives a Quota with a `total` that its `low` and `high` allow, {least} to {most}"
    whole("allocation.budget", quota.total, least=least, most=most, rule=rule)


def spread_of(pattern: Pattern, keep: Tensor, param: Param) -> Tensor:
    """The mask of weights that a mask of units means.

    Raises:
        TypeError, ValueError: No tensor of zeros and ones of the param's shape.
    """
    mask = pattern.spread(keep, param)
    _check("pattern.spread", mask, f"1 or 0 for each weight of {param.name}", param.shape, binary=True)
    return mask


def is_ours(part: object) -> bool:
    """Whether a part is one of this package, which tests have looked at."""
    return type(part).__module__.split(".")[0] == __name__.split(".")[0]


def _size(pattern: Pattern, param: Param, units: Tensor) -> Size:
    size, count = pattern.size(param), units.size
    rule = f"a number of weights per unit, one for all or one for each, {param.size} together for {param.name} at most"
    if isinstance(size, Tensor):
        _check("pattern.size", size, rule, [count])
        least, most = int(size.min()), int(size.sum())
    else:
        size = least = whole("pattern.size", size, least=1, rule=f"a function that gives {rule}")
        most = least * count
    if least < 1 or most > param.size:
        raise _refused("pattern.size", rule, f"{most} together, the least {least}")
    return size


def _check(what: str, found: Any, rule: str, shape: Sequence[int] | None = None, *, binary: bool = False) -> None:
    wanted = f"a tensor of {rule}" + ("" if shape is None else f", of shape {list(shape)}")
    if not isinstance(found, Tensor):
        raise _refused(what, wanted, f"{shown(found)} ({type(found).__name__})", TypeError)
    if shape is not None and list(found.shape) != list(shape):
        raise _refused(what, wanted, f"shape {list(found.shape)}")
    if binary and not bool(paddle.all((found == 0) | (found == 1))):
        raise _refused(what, wanted, "other numbers")


def _refused(what: str, rule: str, got: str, kind: type[Exception] = ValueError) -> Exception:
    return kind(f"`{what}` must be a function that gives {rule}, got {got}.")
