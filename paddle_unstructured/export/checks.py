# SPDX-License-Identifier: Apache-2.0
"""Does a model hold what was asked of it: a sparsity, a pattern?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import prod
from typing import Any, Sequence

import numpy as np

from ..arguments import flag, fraction, part, regex, wrong_kind
from ..graph import Param, open_graph
from ..patterns import NM, Boxed, Element, Pattern, extents_of, grouped_axis, parse_pattern
from ..reporting.report import check_initialized
from ..reporting.table import aligned
from ..selection import RELEVANT, all_weights, judge, named, why_none


@dataclass(frozen=True)
class Finding:
    """What was found in one param.

    Attributes:
        zeros: Weights that are exactly zero, of `weights`.
        fault: rule that does not hold, or "".
        left: Why nothing is asked of it: a pruner leaves it dense too. Or "".
    """

    name: str
    shape: tuple[int, ...]
    weights: int
    zeros: int
    fault: str
    left: str = ""

    @property
    def sparsity(self) -> float:
        return self.zeros / self.weights if self.weights else 0.0


@dataclass(frozen=True)
class CheckResult:
    """The findings, and whether all of it holds. Prints as a table."""

    findings: tuple[Finding, ...]

    @property
    def offenders(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.fault)

    @property
    def holds(self) -> bool:
        return not self.offenders

    @property
    def share(self) -> float:
        """Weights that were checked / all weights."""
        return sum(f.weights for f in self._asked) / sum(f.weights for f in self.findings)

    @property
    def _asked(self) -> list[Finding]:
        return [finding for finding in self.findings if not finding.left]

    def to_dict(self) -> dict[str, Any]:
        """For machines; "left" and "share" where something was left out."""
        rows = [{**asdict(f), "shape": list(f.shape), "sparsity": f.sparsity} for f in self.findings]
        rows = [{key: value for key, value in row.items() if key != "left" or value} for row in rows]
        return {"holds": self.holds, **({"share": self.share} if self.share < 1 else {}), "params": rows}

    def __str__(self) -> str:
        rows = [
            (
                f.name,
                "x".join(map(str, f.shape)),
                f"{f.weights}",
                f"{f.zeros}",
                f"{f.sparsity:.4f}",
                f.fault or (f"not asked: {f.left}" if f.left else "holds"),
            )
            for f in self.findings
        ]
        weights, zeros = (sum(getattr(f, name) for f in self._asked) for name in ("weights", "zeros"))
        said = f"{len(self.offenders)} of {len(self._asked)} params do not hold" if self.offenders else "all hold"
        said += f", {self.share:.1%} of all weights" if self.share < 1 else ""
        total = ("total", "", f"{weights}", f"{zeros}", f"{zeros / weights:.4f}", said)
        return aligned(("name", "shape", "weights", "zeros", "sparsity", "result"), rows, [total], numbers=(2, 3, 4))


def check(
    program: Any,
    scope: Any = None,
    *,
    pattern: Pattern | str | None = None,
    sparsity: float | None = None,
    params: str | None = None,
    each: bool = False,
) -> CheckResult:
    """Check the stored weights of a Program.

    Args:
        program: A PIR Program, training or inference.
        scope: scope that holds its weights; default: the global scope.
        pattern: "2:4": at most 2 of 4 consecutive weights along the input axis are not zero. "2x1" (outputs x inputs),
            "1x4" (an `Int8Block`) or a `Block`: every zero lies in a block of zeros. What a pruner with that pattern
            leaves dense is listed, and nothing is asked of it; what `params` names and the pattern does not fit is at
            fault.
        sparsity: At least this fraction of all checked weights is zero, in [0, 1]; each param may be short of it by
            less than one unit of the pattern, which is what rounding costs. Weights that cannot be followed to their op
            count too, once they are more than 1 % of all: what claims a sparsity may not leave them out.
        params: A regular expression that the whole name must match. Default: every weight that could be pruned.
        each: `sparsity` is asked of every param, not of all together.

    Returns:
        The findings. When the sparsity does not hold over all, the params that are below it are at fault.

    Raises:
        ValueError: Nothing to check for, no param of that name, a pattern that fits none of them, or weights without a
            value.
        TypeError: A pattern that is none of the above.

    Example:
        >>> result = check(program, pattern="2:4", sparsity=0.5)  # doctest: +SKIP
        >>> result.holds or print(result)  # doctest: +SKIP
    """
    if pattern is None and sparsity is None:
        raise ValueError("give `pattern`, `sparsity` or both: there is nothing to check for.")
    if sparsity is not None:
        fraction("sparsity", sparsity)
    if params is not None:
        regex("params", params)
    flag("each", each)
    asked = _asked(pattern)
    graph = open_graph(program, scope)
    left = _subjects(graph.params(), asked, sparsity, params)
    check_initialized(graph, list(left))
    kept = {param: graph.array(param.name) != 0 for param in left}
    counted = [param for param in left if not left[param]]
    wanted = 0.0 if sparsity is None else sparsity
    short = {param: wanted * param.size - (param.size - int(kept[param].sum())) for param in counted}
    slack = {param: unit_size(asked, param) for param in counted}
    enough = not each and sum(short.values()) < sum(slack.values())  # each may be short by less than a unit
    findings = []
    for param in left:
        fault, unfollowed = "", params is None and param.is_unfollowed
        if param in slack:
            fault = "" if unfollowed else pattern_fault(kept[param], asked, param)
            if not fault and not enough and short[param] >= slack[param]:
                fault = f"sparsity {1 - kept[param].mean():.4f} is below {sparsity:g}"
                fault += f"; {all_weights(param)[1]}" if unfollowed else ""
        zeros = int(param.size - kept[param].sum())
        findings.append(Finding(param.name, param.shape, param.size, zeros, fault, left[param]))
    return CheckResult(tuple(findings))


def _subjects(
    everything: Sequence[Param], asked: Pattern, sparsity: float | None, params: str | None
) -> dict[Param, str]:
    """The params that are looked at, and why nothing is asked of one, or "".

    Args:
        everything: all params of the Program.
        asked: pattern that is asked for.
        sparsity: sparsity that is asked for, or None.
        params: regular expression of what is looked at; None: all weights, and what cannot be followed to its op.
    """
    chosen = choose_params(everything, params)
    if params is not None:
        return dict.fromkeys(chosen, "")
    left = {param: _left_alone(asked, param) for param in chosen}
    if all(left.values()):
        fits_none = why_none({param.name: why for param, why in left.items()})
        raise ValueError(f"{asked!r} fits none of {fits_none}; ask for another pattern.")
    unfollowed = [param for param in everything if param.is_unfollowed and param.size]
    whole = sum(param.size for param in (*chosen, *unfollowed))
    claimed = sparsity is not None and sum(param.size for param in unfollowed) > RELEVANT * whole
    return {**left, **{param: "" if claimed else all_weights(param)[1] for param in unfollowed}}


def pattern_fault(kept: np.ndarray, pattern: Pattern, param: Param) -> str:
    """What breaks the pattern in a param, or "".

    Args:
        kept: bool, the param's shape; False where a weight is zero.
    """
    if isinstance(pattern, NM):
        axis, unfit = grouped_axis(param, pattern.m)
        if unfit:
            return f"groups of {pattern.m} do not divide its input axis; check the others by `params`"
        full = _in_groups(kept, axis, pattern.m).sum(-1)
        broken, what = full > pattern.n, f"groups of {pattern.m} keep more than {pattern.n}"
    elif isinstance(pattern, Boxed):
        if pattern.check(param):  # too narrow: pruning leaves it dense
            return "it has no output and input axis" if None in (param.output_axis, param.input_axis) else ""
        share = _shares_kept(kept, extents_of(pattern, param))
        broken, what = (share > 0) & (share < 1), "blocks are zero in part"
    else:
        return ""
    return f"{int(broken.sum())} of {broken.size} {what}" if broken.any() else ""


def _left_alone(pattern: Pattern, param: Param) -> str:
    """Why a pruner with the pattern leaves the param dense, or "" if it does not, or refuses it."""
    try:
        return pattern.check(param) or ""
    except ValueError:
        return ""


def _asked(pattern: Any) -> Pattern:
    if pattern is None:
        return Element()
    if isinstance(pattern, str):
        return parse_pattern(pattern)
    rule = '"2:4", "2x1", "1x4" or a pattern such as Block(2, 1)'
    found: Pattern = part("pattern", pattern, Pattern, rule=rule)
    if not isinstance(found, (Element, Boxed)):
        raise wrong_kind("pattern", rule, pattern)
    return found


def choose_params(params: Sequence[Param], names: str | None) -> list[Param]:
    """The weights whose names match `names`; ValueError if there are none."""
    chosen = [v.param for v in judge(params, all_weights if names is None else named(names)) if v.pruned]
    if not chosen:
        weights = ", ".join(param.name for param in params if param.is_weight)
        if not weights:
            raise ValueError("the Program has no weight to check.")
        raise ValueError(f"`params` {names!r} matches no weight; there are {weights}.")
    return chosen


def unit_size(pattern: Pattern, param: Param) -> int:
    """Weights of a full unit of the pattern: a group, a block, a filter or a single weight."""
    if isinstance(pattern, NM):
        return pattern.m
    return prod(map(min, extents_of(pattern, param), param.shape)) if isinstance(pattern, Boxed) else 1


def _in_groups(array: np.ndarray, axis: int, size: int) -> np.ndarray:
    moved = np.moveaxis(array, axis, -1)
    return moved.reshape(*moved.shape[:-1], -1, size)


def _shares_kept(kept: np.ndarray, extents: Sequence[int]) -> np.ndarray:
    """Fraction of weights kept in each block; the last block of an axis may be short."""
    total, ones = kept.astype(np.int64), np.ones(kept.shape, np.int64)
    for axis, extent in enumerate(extents):
        starts = np.arange(0, kept.shape[axis], extent)
        total, ones = (np.add.reduceat(a, starts, axis) for a in (total, ones))
    return total / ones
