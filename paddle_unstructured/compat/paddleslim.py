# SPDX-License-Identifier: Apache-2.0
"""The words PaddleSlim's users know, turned into parts; a word together with its part is refused."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from ..allocation import Allocation, Global, Threshold, Uniform
from ..arguments import flag, fraction, function, has_method, number, one_of, part, whole, wrong_kind
from ..criteria import Criterion, Scorer, magnitude
from ..patterns import Block, Element, Pattern, parse_pattern
from ..schedules import Constant, Polynomial, Schedule
from ..selection import Select, all_weights, conv1x1_only


class Default(float):
    """A default that can be told from the same number given by the user."""


RATIO, THRESHOLD = Default(0.55), Default(0.01)
MODES = ("ratio", "threshold")
GMP_KEYS = (
    "stable_iterations",
    "pruning_iterations",
    "tunning_iterations",
    "resume_iteration",
    "pruning_steps",
    "initial_ratio",
)


def to_select(prune_params_type: str | None, select: Select | None) -> Select:
    _not_both("prune_params_type", prune_params_type, "select", select)
    if select is not None:
        return function("select", select, takes=["param"])
    if prune_params_type is None:
        return all_weights
    rule, hint = 'None or "conv1x1_only"', "for any other choice give `select`"
    one_of("prune_params_type", prune_params_type, ["conv1x1_only"], rule=rule, hint=hint)
    return conv1x1_only


def to_pattern(sparse_block: Sequence[int] | None, pattern: Pattern | str | None) -> Pattern:
    _not_both("sparse_block", sparse_block, "pattern", pattern)
    if sparse_block is not None:
        try:
            extents = [] if isinstance(sparse_block, (str, bytes, Mapping)) else list(sparse_block)
        except Exception:
            extents = []
        if len(extents) != 2:
            raise wrong_kind("sparse_block", "two ints [m, n]", sparse_block)
        m, n = (whole(axis, extent, least=1, hint="`sparse_block` is [m, n]") for axis, extent in zip("mn", extents))
        return Element() if (m, n) == (1, 1) else Block(m, n, axes="stored")
    if pattern is None:
        return Element()
    if isinstance(pattern, str):
        return parse_pattern(pattern)
    found: Pattern = part("pattern", pattern, Pattern, rule="a pattern such as Block(2, 1)")
    return found


def to_criterion(criterion: Criterion | None) -> Criterion:
    if criterion is None:
        return magnitude
    if has_method(criterion, "score"):
        found: Criterion = part("criterion", criterion, Scorer, rule="a criterion such as Saliency()")
        return found
    return function("criterion", criterion, takes=["weight"])


def to_allocation(
    mode: str | None, threshold: float, local_sparsity: bool, allocation: Allocation | None
) -> Allocation:
    if mode is not None:
        one_of("mode", mode, MODES, rule='"ratio" or "threshold"')
    local_sparsity = flag("local_sparsity", local_sparsity)
    _not_both("local_sparsity", local_sparsity or None, "allocation", allocation)
    if mode is None and not isinstance(threshold, Default):
        raise ValueError(
            f'`threshold` (got {threshold!r}) has no meaning without mode="threshold"; add it, or '
            "leave the threshold out."
        )
    if mode == "threshold":
        _not_both('mode="threshold"', mode, "allocation", allocation)
        if local_sparsity:
            raise ValueError(
                '`local_sparsity` has no meaning with mode="threshold": a threshold is the same for '
                "every layer; leave one out."
            )
        return Threshold(number("threshold", threshold, least=0, hint="weights with |w| below it are pruned"))
    if allocation is None:
        return Uniform() if local_sparsity else Global()
    part("allocation", allocation, Allocation, rule="an allocation such as Global()")
    if mode == "ratio" and isinstance(allocation, Threshold):
        raise ValueError(f'mode="ratio" and allocation={allocation!r} contradict each other; leave `mode` out.')
    return allocation


def check_schedule(allocation: Allocation, ratio: float, schedule: Schedule | None) -> None:
    """Refuse a ratio out of range, and a schedule beside a ratio or a threshold."""
    _not_both("ratio", None if isinstance(ratio, Default) else ratio, "schedule", schedule)
    fraction("ratio", ratio)
    if schedule is not None and isinstance(allocation, Threshold):
        raise ValueError(
            f"`schedule` has no meaning with a threshold, got {schedule!r}: the threshold decides how "
            "much is pruned; leave one out."
        )


def to_schedule(own_sparsity: float | None, ratio: float, schedule: Schedule | None) -> Schedule:
    """The user's schedule; else his ratio; else the sparsity that the other parts mean; else the default ratio."""
    if schedule is not None:
        return function("schedule", schedule, takes=["step"])
    if isinstance(ratio, Default) and own_sparsity is not None:
        return Constant(own_sparsity)
    return Constant(float(ratio))


def gmp_schedule(ratio: float, configs: Mapping[str, Any] | None) -> tuple[Polynomial, int]:
    """The schedule that PaddleSlim's `configs` describe, and the step to resume at.

    Step t is the t-th call of `step()`, counted from 0. Nothing is pruned at steps 0 .. stable_iterations - 1; the
    next `pruning_iterations` steps begin with `initial_ratio` and end with `ratio`, in `pruning_steps` rises; from then
    on the sparsity stays.
    """
    if not isinstance(configs, Mapping):
        raise wrong_kind("configs", f"a dict with the keys {', '.join(GMP_KEYS)}", configs)
    missing = [key for key in GMP_KEYS if key not in configs]
    strategy = configs.get("pruning_strategy", "gmp")  # which PaddleDetection gives besides
    one_of("configs['pruning_strategy']", strategy, ("gmp",))
    unknown = [str(key) for key in configs if key not in (*GMP_KEYS, "pruning_strategy")]
    if missing or unknown:
        raise ValueError(
            "`configs` "
            + " and ".join(
                ([f"lacks {', '.join(missing)}"] if missing else [])
                + ([f"has unknown keys {', '.join(unknown)}"] if unknown else [])
            )
            + f"; it needs {', '.join(GMP_KEYS)}."
        )
    fraction("ratio", ratio)
    fraction("configs['initial_ratio']", configs["initial_ratio"])
    for key, least in zip(GMP_KEYS[:5], (0, 1, 0, 0, 1)):
        whole(f"configs['{key}']", configs[key], least=least)
    if configs["initial_ratio"] > ratio:
        raise ValueError(f"`configs['initial_ratio']` must be <= ratio, got {configs['initial_ratio']} > {ratio}.")
    begin, length = int(configs["stable_iterations"]), int(configs["pruning_iterations"])
    ramp = Polynomial(
        final=float(ratio),
        initial=float(configs["initial_ratio"]),
        begin_step=begin,
        end_step=begin + length - 1,
        updates=int(configs["pruning_steps"]),
    )
    return ramp, int(configs["resume_iteration"])


def only_rules(**others: Any) -> None:
    """Refuse parts that rules say for each layer by themselves."""
    for name, value in others.items():
        _not_both("rules", "given", name, value)


def _not_both(word: str, given: Any, part: str, value: Any) -> None:
    if given is not None and value is not None:
        raise ValueError(f"`{word}` (got {given!r}) and `{part}` (got {value!r}) say the same thing; give one of them.")
