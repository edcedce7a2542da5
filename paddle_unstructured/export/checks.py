"""Does a model hold what was asked of it: a sparsity, a pattern?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import prod
from typing import Any, Sequence

import numpy as np

from ..arguments import fraction
from ..graph import Param, open_graph
from ..patterns import NM, Element, Int8Block, Pattern, parse_pattern
from ..reporting.report import check_initialized
from ..reporting.table import aligned
from ..selection import all_weights, judge, named


@dataclass(frozen=True)
class Finding:
    """What was found in one param.

    Attributes:
        zeros: Weights that are exactly zero, of `weights`.
        fault: What does not hold, or "".
    """

    name: str
    shape: tuple[int, ...]
    weights: int
    zeros: int
    fault: str

    @property
    def sparsity(self) -> float:
        return self.zeros / self.weights


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

    def to_dict(self) -> dict[str, Any]:
        rows = [{**asdict(f), "shape": list(f.shape), "sparsity": f.sparsity} for f in self.findings]
        return {"holds": self.holds, "params": rows}

    def __str__(self) -> str:
        rows = [
            (f.name, "x".join(map(str, f.shape)), f"{f.weights}", f"{f.zeros}", f"{f.sparsity:.4f}", f.fault or "holds")
            for f in self.findings
        ]
        weights, zeros = (sum(getattr(f, name) for f in self.findings) for name in ("weights", "zeros"))
        said = f"{len(self.offenders)} of {len(rows)} params do not hold" if self.offenders else "all hold"
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
        scope: Where its weights are. Default: the global scope.
        pattern: "2:4": at most 2 of 4 consecutive weights along the input axis are not zero. "2x1" (outputs x inputs),
            "1x4" (an `Int8Block`) or a `Block`: every zero lies in a block of zeros.
        sparsity: At least this fraction of all checked weights is zero, in [0, 1]; each param may be short of it by
            less than one unit of the pattern, which is what rounding costs.
        params: A regular expression that the whole name must match. Default: every weight that could be pruned.
        each: `sparsity` is asked of every param, not of all together.

    Returns:
        The findings. When the sparsity does not hold over all, the params that are below it are at fault.

    Raises:
        ValueError: Nothing to check for, no param of that name, or weights without a value.
        TypeError: A pattern that is none of the above.

    Example:
        >>> result = check(program, pattern="2:4", sparsity=0.5)  # doctest: +SKIP
        >>> result.holds or print(result)  # doctest: +SKIP
    """
    if pattern is None and sparsity is None:
        raise ValueError("give `pattern`, `sparsity` or both: there is nothing to check for.")
    if sparsity is not None:
        fraction("sparsity", sparsity)
    asked = _asked(pattern)
    graph = open_graph(program, scope)
    chosen = choose_params(graph.params(), params)
    check_initialized(graph, chosen)
    arrays = [graph.array(param.name) != 0 for param in chosen]
    short = [0.0 if sparsity is None else sparsity * kept.size - (kept.size - kept.sum()) for kept in arrays]
    slack = [unit_size(asked, param) for param in chosen]
    overall = sum(short) < sum(slack)  # each param may be short by less than a unit
    findings = []
    for param, kept, lacking, unit in zip(chosen, arrays, short, slack):
        fault = pattern_fault(kept, asked, param)
        if not fault and lacking >= unit and (each or not overall):
            fault = f"sparsity {1 - kept.mean():.4f} is below {sparsity:g}"
        findings.append(Finding(param.name, param.shape, kept.size, int(kept.size - kept.sum()), fault))
    return CheckResult(tuple(findings))


def pattern_fault(kept: np.ndarray, pattern: Pattern, param: Param) -> str:
    """What breaks the pattern in a param, or "".

    Args:
        kept: bool, the param's shape; False where a weight is zero.
    """
    if isinstance(pattern, NM):
        if param.input_axis is None or param.shape[param.input_axis] % pattern.m:
            return f"groups of {pattern.m} do not divide its input axis; check the others by `params`"
        full = _in_groups(kept, param.input_axis, pattern.m).sum(-1)
        broken, what = full > pattern.n, f"groups of {pattern.m} keep more than {pattern.n}"
    elif hasattr(pattern, "extents"):
        if None in (param.output_axis, param.input_axis):
            return "it has no output and input axis"
        if isinstance(pattern, Int8Block) and pattern.check(param):
            return ""  # too narrow: pruning leaves it dense
        share = _shares_kept(kept, pattern.extents(param))
        broken, what = (share > 0) & (share < 1), "blocks are zero in part"
    else:
        return ""
    return f"{int(broken.sum())} of {broken.size} {what}" if broken.any() else ""


def _asked(pattern: Any) -> Pattern:
    if pattern is None:
        return Element()
    if isinstance(pattern, str):
        return parse_pattern(pattern)
    if isinstance(pattern, type) or not (isinstance(pattern, Element) or hasattr(pattern, "extents")):
        raise TypeError(f'`pattern` must be "2:4", "2x1", "1x4" or a pattern such as Block(2, 1), got {pattern!r}.')
    found: Pattern = pattern
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
    return prod(map(min, pattern.extents(param), param.shape)) if hasattr(pattern, "extents") else 1


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
