# SPDX-License-Identifier: Apache-2.0
"""What is sparse, and why: tables for people, JSON for machines."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Callable, Iterable, Sequence

import numpy as np

from ..arguments import part
from ..graph import WEIGHT_ROLES, Graph, Param, open_any
from ..selection import Select, Verdict, all_weights, judge
from .table import aligned, shape_text

STATISTICS = ("norm mean", "norm variance", "norm statistics")
_NOT_COUNTED = {*STATISTICS, "unused"}  # nobody trains the ones, nobody reads the others
_CONSTANTS = ("bias", "norm scale", "norm bias", *STATISTICS)  # of which a deep net has hundreds, and never a zero
_FEW = 12  # that are listed one by one


@dataclass(frozen=True)
class Row:
    """One param: how many of its `weights` are exactly zero, and whether (and why not) it is pruned."""

    name: str
    role: str
    shape: tuple[int, ...]
    weights: int
    zeros: int
    pruned: bool
    reason: str

    @property
    def sparsity(self) -> float:
        """zeros / weights; 0 for an empty param."""
        return self.zeros / self.weights if self.weights else 0.0

    @property
    def is_unfollowed(self) -> bool:
        """As `Param.is_unfollowed`."""
        return self.role == "unknown" and len(self.shape) > 1


@dataclass(frozen=True)
class SparsityReport:
    """Counts of exact zeros in the stored weights.

    Attributes:
        rows: Every param, in the order in which the Program reads them.
        conv1x1: Names of the rows that are 1x1 conv2d weights.
    """

    rows: tuple[Row, ...]
    conv1x1: frozenset[str]

    @property
    def totals(self) -> dict[str, float]:
        """Sparsity of the selected weights, of all that the Program uses (no running statistics of norms, no buffer
        that nothing reads), and of the weights of 1x1 convolutions; never mixed."""
        return {name: zeros / weights if weights else 0.0 for name, (zeros, weights) in self.counts.items()}

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """(zeros, weights) behind `totals`."""
        return {
            "selected": _count(r for r in self.rows if r.pruned),
            "all": _count(r for r in self.rows if r.role not in _NOT_COUNTED),
            "conv1x1": _count(r for r in self.rows if r.name in self.conv1x1),
        }

    @property
    def unfollowed(self) -> tuple[Row, ...]:
        """Params that may be weights and are not selected: it is not known how they reach their op."""
        return tuple(row for row in self.rows if row.is_unfollowed and not row.pruned)

    @property
    def share(self) -> float:
        """Selected weights / all weights of layers, those that cannot be followed included; 0 if there are none."""
        whole = sum(r.weights for r in self.rows if r.pruned or r.is_unfollowed or r.role in WEIGHT_ROLES)
        return self.counts["selected"][1] / whole if whole else 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "rows": [{**asdict(row), "shape": list(row.shape), "sparsity": row.sparsity} for row in self.rows],
            "totals": {
                name: {"zeros": zeros, "weights": weights, "sparsity": self.totals[name]}
                for name, (zeros, weights) in self.counts.items()
            },
            "share": self.share,
            "unfollowed": [row.name for row in self.unfollowed],
        }

    def to_json(self, indent: int | None = 2) -> str:
        return json.dumps(self.to_dict(), indent=indent)

    def __str__(self) -> str:
        rows = [
            (
                r.name,
                r.role,
                shape,
                f"{r.weights}",
                f"{r.zeros}",
                f"{r.sparsity:.4f}",
                "yes" if r.pruned else f"no: {r.reason}",
            )
            for r, shape in _listed(self.rows)
        ]
        titles = {"selected": "selected weights", "all": "all weights", "conv1x1": "1x1 conv weights"}
        of = {"selected": f"{self.share:.1%} of the weights of layers" if 0 < self.share < 1 else ""}
        totals = [
            (titles[name], "", "", f"{weights}", f"{zeros}", f"{self.totals[name]:.4f}", of.get(name, ""))
            for name, (zeros, weights) in self.counts.items()
        ]
        if self.unfollowed:
            zeros, weights = _count(self.unfollowed)
            totals.append(("not followed", "", "", f"{weights}", f"{zeros}", f"{zeros / weights:.4f}", "not selected"))
        header = ("name", "role", "shape", "weights", "zeros", "sparsity", "pruned")
        return aligned(header, rows, totals, numbers=(3, 4, 5))


class Explanation(tuple[Verdict, ...]):
    """The verdict on every param; prints as a table."""

    def __str__(self) -> str:
        verdicts = [Row(v.param.name, v.param.role, v.param.shape, v.param.size, 0, v.pruned, v.reason) for v in self]
        rows = [(r.name, r.role, shape, "yes" if r.pruned else "no", r.reason) for r, shape in _listed(verdicts)]
        return aligned(("name", "role", "shape", "pruned", "why"), rows)


def sparsity_report(
    program: Any, scope: Any = None, pruner: Any = None, *, select: Select = all_weights
) -> SparsityReport:
    """Count the zeros of every param of a Program or an nn.Layer.

    Args:
        program: A PIR Program, training or inference, or an nn.Layer.
        scope: Where the Program's weights are. Default: the pruner's, else the global scope.
        pruner: pruner whose choice of params counts as "selected".
        select: Without a pruner: which params count as "selected". Default: every weight that could be pruned.

    Returns:
        The report. `str(report)` is a table, `report.to_json()` for machines.

    Raises:
        ValueError: A param has no value in the scope.
    """
    if pruner is not None:
        part("pruner", pruner, ["explain"], rule="a pruner or None")
    graph = open_any(program, scope if scope is not None or pruner is None else pruner.scope)
    verdicts = judge(graph.params(), select)
    if pruner is not None:
        known = {v.param.name: v for v in pruner.explain()}
        later = "it came after the pruner"
        verdicts = [
            replace(known[v.param.name], param=v.param)
            if v.param.name in known
            else replace(v, pruned=False, reason=later if v.pruned else v.reason)
            for v in verdicts
        ]
    check_initialized(graph, [v.param for v in verdicts])
    rows = tuple(_row(graph, v) for v in verdicts)
    return SparsityReport(rows, frozenset(v.param.name for v in verdicts if v.param.is_conv1x1))


def sparsity_of(program: Any, scope: Any, counted: Callable[[Param], bool]) -> float:
    """Fraction of zeros over the params that count; 0 if none does."""
    rows = _rows_of(program, scope, counted)
    zeros, weights = _count(rows)
    return zeros / weights if weights else 0.0


def sparsity_by_layer(program: Any, scope: Any) -> dict[str, float]:
    """Fraction of zeros of every weight, by name, those that cannot be followed included."""
    return {row.name: row.sparsity for row in _rows_of(program, scope, may_be_weight)}


def may_be_weight(param: Param) -> bool:
    """A weight, or a param whose op is not known and that may be one: a total that left it out would claim too much."""
    return param.is_weight or param.is_unfollowed


def magnitude_threshold(graph: Graph, params: Sequence[Param], ratio: float) -> float:
    """The number that round(ratio * n) of the n weights of these params have a |w| below, ties aside."""
    check_initialized(graph, params)
    values = np.sort(np.concatenate([np.abs(graph.array(param.name)).reshape(-1) for param in params]))
    count = round(ratio * values.size)
    return float(values[count] if count < values.size else np.nextafter(values[-1], values.dtype.type(np.inf)))


def check_finite(graph: Graph, params: Iterable[Param]) -> None:
    """Raise ValueError if a param has NaN or infinity, which no ranking and no product survives."""
    for param in params:
        bad = int((~np.isfinite(graph.array(param.name))).sum())
        if bad:
            raise ValueError(
                f"weights must be finite, but {param.name} has {bad} of {param.size} that are NaN or infinite; look "
                "for the training step that made them, a lower learning rate helps."
            )


def check_initialized(graph: Graph, params: Sequence[Param]) -> None:
    """Raise ValueError if a param has no value in the scope."""
    missing = [param.name for param in params if not graph.is_initialized(param.name)]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(params)} params of the Program have no value in the scope, "
            f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''} among them; run the startup "
            "Program or load the weights first, or give the `scope` that holds them."
        )


def _rows_of(program: Any, scope: Any, counted: Callable[[Param], bool]) -> list[Row]:
    graph = open_any(program, scope)
    verdicts = [v for v in judge(graph.params()) if counted(v.param)]
    check_initialized(graph, [v.param for v in verdicts])
    return [_row(graph, v) for v in verdicts]


def _row(graph: Graph, verdict: Verdict) -> Row:
    param = verdict.param
    zeros = param.size - int(np.count_nonzero(graph.array(param.name)))
    return Row(param.name, param.role, param.shape, param.size, zeros, verdict.pruned, verdict.reason)


def _listed(rows: Sequence[Row]) -> list[tuple[Row, str]]:
    """The rows of a table, and their shapes; where there are many biases and norms, a row for all of one role."""
    constants = [row for row in rows if row.role in _CONSTANTS and not row.pruned]
    if len(constants) <= _FEW:
        return [(row, shape_text(row.shape)) for row in rows]
    found = [(row, shape_text(row.shape)) for row in rows if row.role not in _CONSTANTS or row.pruned]
    for role in dict.fromkeys(row.role for row in constants):
        same = [row for row in constants if row.role == role]
        zeros, weights = _count(same)
        reasons = "; ".join(dict.fromkeys(row.reason for row in same))
        name = same[0].name if len(same) == 1 else f"({len(same)} params)"
        found.append((Row(name, role, (), weights, zeros, False, reasons), ""))
    return found


def _count(rows: Any) -> tuple[int, int]:
    rows = list(rows)
    return sum(row.zeros for row in rows), sum(row.weights for row in rows)
