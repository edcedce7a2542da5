# SPDX-License-Identifier: Apache-2.0
"""A Program as inference means it: norms and dropout in test mode, and no random number that its outputs depend on."""

from __future__ import annotations

from math import isclose
from typing import Any, Iterator

import paddle
from paddle.base.libpaddle.pir import reset_insertion_point_to_end

from .program import walk
from .rounded import is_moving_range
from .values import exists, forward_uses, kind_of

_RANDOM = {
    *("uniform", "uniform_inplace", "uniform_random_batch_size_like", "gaussian", "gaussian_inplace", "bernoulli"),
    *("truncated_gaussian_random", "randint", "randperm", "random", "multinomial", "poisson", "exponential"),
    *("binomial", "standard_gamma", "dirichlet", "gumbel_softmax", "top_p_sampling", "random_routing"),
    *("shuffle_batch", "class_center_sample", "tdm_sampler", "nce", "graph_sample_neighbors"),
    *("weighted_sample_neighbors", "graph_khop_sampler"),
}
_COPIES = ("cast", "assign")
_KEEP_WHERE = {"greater_equal": False, "greater_than": False, "less_than": True, "less_equal": True}
_ALPHA = -1.7580993408473766  # what alpha dropout puts in a dropped place, -scale * alpha of SELU
_CLOSE = 1e-4  # of constants that Paddle keeps in float32, or that were rounded to float16


def to_inference(program: Any) -> None:
    """Set every op to test mode, and take out random masks as their inference mode means it; changes the Program.

    What masks whole channels or samples (`Dropout2D`, `dropout(axis=...)`, alpha dropout, drop path) is built of ops
    that know no test mode: a random mask m, 1 with probability k and else 0.

        x / k * m  ->  x        x * m  ->  k * x where m is a comparison (dropout "downscale_in_infer")

    Ranges that `quantize_aware` learns stand still.

    Two masks are refused, by the name of the op that makes their numbers, though people would see what is meant.
    `where(m, x, 0)`: Paddle broadcasts by adding zeros that it makes of all three operands, so what selects is a sum
    that the mask is one part of, in forms that differ with the shapes; write `x / k * m`. DropBlock: it divides by the
    share of places that it has left in this very batch, and no constant says what is 1 on average.

    Args:
        program: An inference Program: all of it feeds its outputs.

    Raises:
        ValueError: The outputs depend on other random numbers, by the ops that make them.
    """
    ops = list(walk(program.global_block()))
    for op in ops:  # Paddle leaves out those in branches and loops
        if op.has_attr("is_test"):
            op.set_bool_attr("is_test", True)
    moving = [op for op in ops if is_moving_range(op)]
    if moving:
        _hold(moving)
        ops = list(walk(program.global_block()))
    sources = [op for op in ops if kind_of(op) in _RANDOM and not op.has_attr("is_test")]
    if not sources:
        return
    behind = _behind(sources)
    for op in sources:
        _take_out(program, op)
    _remove_unread(behind)
    left = [op.name() for op in walk(program.global_block()) if kind_of(op) in _RANDOM and not op.has_attr("is_test")]
    if left:
        raise ValueError(
            f"the outputs depend on random numbers: {', '.join(sorted(set(left)))} has no inference mode, and makes no "
            "mask of a dropout that is known; give a `fetch` that does not need it, or build the Program for inference "
            "(`layer.eval()`) before it is exported."
        )


def _hold(moving: list[Any]) -> None:
    """Let readers of ranges that move read their variables, and take away what moves them."""
    waiting = [op.operand_source(0).get_defining_op() for op in moving]
    for op in moving:
        op.result(0).replace_all_uses_with(op.operand_source(1))
        op.get_parent_block().remove_op(op)
    found: dict[int, Any] = {}
    while waiting:
        op = waiting.pop()
        if kind_of(op) not in ("data", "parameter") and op.id() not in found:
            found[op.id()] = op
            waiting += [value.get_defining_op() for value in op.operands_source() if exists(value)]
    _remove_unread(list(found.values()))


def _take_out(program: Any, op: Any) -> None:
    for mask, keep, compared in _masks(op):
        for same, mask_scale in _scaled(mask):
            for product in _products(same):
                factor = keep * mask_scale
                x, result = _other(product, same), product.result(0)
                alpha = _alpha_dropout(product, same) if compared else None
                if alpha is not None:
                    _replace(program, alpha, x)
                    continue
                end, behind = _scaled_behind(result)
                inner = [(result, at) for at, scale in _origins(x) if _is_one(factor * scale)]
                inner += [(end, at) for at, scale in _origins(x) if _is_one(factor * scale * behind)]
                if inner:
                    _replace(program, *inner[0])
                elif compared and mask_scale == 1.0:
                    _replace(program, result, x, keep)


def _masks(op: Any) -> Iterator[tuple[Any, float, bool]]:
    """(mask, probability of 1, whether a comparison made it) for each mask that a random op becomes."""
    if kind_of(op) == "bernoulli":
        keep = _number(op.operand_source(0))
        if keep is not None:
            yield op.result(0), keep, False
        return
    if kind_of(op) != "uniform" or (_number(op.operand_source(1)), _number(op.operand_source(2))) != (0.0, 1.0):
        return
    for value in _copies(op.result(0)):
        for use in forward_uses(value):
            if kind_of(use) in _KEEP_WHERE and use.operand_source(0).is_same(value):
                bound = _number(use.operand_source(1))
                if bound is not None:
                    yield use.result(0), bound if _KEEP_WHERE[kind_of(use)] else 1.0 - bound, True
            shift = _shift(use, value)
            if shift is not None:
                yield from ((f.result(0), shift, False) for f in forward_uses(use.result(0)) if kind_of(f) == "floor")


def _copies(value: Any) -> Iterator[Any]:
    """The value, and what only casts or assigns it."""
    yield value
    for use in forward_uses(value):
        if kind_of(use) in _COPIES:
            yield from _copies(use.result(0))


def _scaled(value: Any) -> Iterator[tuple[Any, float]]:
    """The value and what is a multiple of it, cast or not, with the factor."""
    yield value, 1.0
    for use in forward_uses(value):
        factor = 1.0 if kind_of(use) in _COPIES else _factor(use, value)
        if factor is not None:
            yield from ((result, factor * further) for result, further in _scaled(use.result(0)))


def _origins(value: Any) -> Iterator[tuple[Any, float]]:
    """What the value is a multiple of, nearest first, with the factor."""
    yield value, 1.0
    op: Any = value.get_defining_op() if exists(value) else None
    if kind_of(op) in _COPIES:
        yield from _origins(op.operand_source(0))
    elif kind_of(op) in ("scale", "divide", "multiply"):
        for given in op.operands_source()[:2]:
            factor = _factor(op, given)
            if factor is not None:
                yield from ((origin, factor * further) for origin, further in _origins(given))
                return


def _products(mask: Any) -> list[Any]:
    """Ops that multiply the mask with more than a number."""
    return [op for op in forward_uses(mask) if kind_of(op) == "multiply" and _number(_other(op, mask)) is None]


def _scaled_behind(value: Any) -> tuple[Any, float]:
    """What is left of a product whose only reader multiplies it by a number, and that number."""
    uses = forward_uses(value)
    factor = _factor(uses[0], value) if len(uses) == 1 else None
    return (value, 1.0) if factor is None else (uses[0].result(0), factor)


def _is_one(factor: float) -> bool:
    return isclose(factor, 1.0, rel_tol=_CLOSE)


def _factor(op: Any, value: Any) -> float | None:
    """c where the op is c * value, or value / c."""
    kind = kind_of(op)
    if kind == "scale" and op.operand_source(0).is_same(value) and not op.attrs()["bias"]:
        return _number(op.operand_source(1))
    if kind == "divide" and op.operand_source(0).is_same(value):
        number = _number(op.operand_source(1))
        return 1.0 / number if number else None
    if kind == "multiply":
        return _number(_other(op, value))
    return None


def _shift(op: Any, value: Any) -> float | None:
    """c where the op is value + c."""
    if kind_of(op) == "scale" and op.operand_source(0).is_same(value) and _number(op.operand_source(1)) == 1.0:
        return float(op.attrs()["bias"])
    return _number(_other(op, value)) if kind_of(op) == "add" else None


def _alpha_dropout(product: Any, mask: Any) -> Any:
    """The result of a * (x * m + alpha * (1 - m)) + b, which is x in inference; None if it is another product."""
    total = _only(product.result(0), "add")
    scaled = total and _only(total.result(0), "scale")
    shifted = scaled and _only(scaled.result(0), "add")
    if not shifted:
        return None
    dropped = _other(total, product.result(0)).get_defining_op()
    alpha = _factor(dropped, dropped.operand_source(0)) if kind_of(dropped) == "scale" else None
    inverse = None if alpha is None else dropped.operand_source(0).get_defining_op()
    if inverse is None or alpha is None or not isclose(alpha, _ALPHA, rel_tol=_CLOSE) or kind_of(inverse) != "subtract":
        return None
    is_inverse = _number(inverse.operand_source(0)) == 1.0 and inverse.operand_source(1).is_same(mask)
    return shifted.result(0) if is_inverse else None


def _only(value: Any, kind: str) -> Any:
    uses = forward_uses(value)
    return uses[0] if len(uses) == 1 and kind_of(uses[0]) == kind else None


def _other(op: Any, value: Any) -> Any:
    return op.operand_source(1 if op.operand_source(0).is_same(value) else 0)


def _number(value: Any) -> float | None:
    """The number that a value is everywhere, if that is a constant."""
    op: Any = value.get_defining_op() if exists(value) else None
    if kind_of(op) == "full":
        return float(op.attrs()["value"])
    if kind_of(op) == "assign_value" and len(op.attrs()["values"]) == 1:
        return float(op.attrs()["values"][0])
    if kind_of(op) in (*_COPIES, "expand", "reshape", "unsqueeze", "full_with_tensor"):
        return _number(op.operand_source(0))
    return None


def _replace(program: Any, old: Any, new: Any, factor: float = 1.0) -> None:
    """Let readers of `old` read factor * new, in the dtype of `old`."""
    if list(old.shape) != list(new.shape) and -1 not in (*old.shape, *new.shape):
        return  # a mask that is larger than what it masks
    producer = old.get_defining_op()
    with paddle.static.program_guard(program):
        paddle.pir.set_insertion_point_after(producer)
        given = new if new.dtype == old.dtype else new.cast(old.dtype)
        given = given if factor == 1.0 else paddle.scale(given, factor)
        reset_insertion_point_to_end()
    old.replace_all_uses_with(given)


def _behind(sources: list[Any]) -> list[Any]:
    """The sources, and all ops that they feed."""
    found: dict[int, Any] = {}
    waiting = list(sources)
    while waiting:
        op = waiting.pop()
        if op.id() not in found:
            found[op.id()] = op
            waiting += [use for result in op.results() for use in result.all_used_ops()]
    return list(found.values())


def _remove_unread(ops: list[Any]) -> None:
    """Take away ops whose results nobody reads any more."""
    waiting = list(reversed(ops))
    while True:
        idle = [op for op in waiting if _is_idle(op)]
        if not idle:
            return
        for op in idle:
            op.get_parent_block().remove_op(op)
        gone = {id(op) for op in idle}
        waiting = [op for op in waiting if id(op) not in gone]


def _is_idle(op: Any) -> bool:
    """Whether the op computes what nobody reads, without writing a variable."""
    writes = op.name().endswith("_") and kind_of(op) not in _RANDOM
    is_plain = op.name().startswith("pd_op.") and op.name() != "pd_op.fetch" or op.name() == "builtin.combine"
    return is_plain and not writes and not list(op.blocks()) and not any(r.all_used_ops() for r in op.results())
