# SPDX-License-Identifier: Apache-2.0
"""Paddle Lite's rule for sparse convolutions: which layers it would run sparse, why not the others, what each costs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..arguments import number
from ..graph import Param, PirGraph, open_graph
from ..reporting.report import check_initialized
from ..reporting.table import aligned
from .paddle_lite_storage import DENSE, STORAGES, Zeros, count_zeros


@dataclass(frozen=True)
class LiteRow:
    """One weight.

    Attributes:
        zeros: Exact zeros of the stored weight.
        counted: Zeros that Paddle Lite counts against the threshold; less than `zeros` where the 2x1 kernel also
            stores zeros. None if the layer's form rules a sparse kernel out.
        kernel: "1x1", "2x1", or "dense".
        reason: Why not sparse; empty if it is.
        needed: The least sparsity at which it would run sparse; None if its form rules that out.
        smaller_from: Sparse storage -> the least sparsity at which it is smaller than the dense one of its dtype.
        bytes: Storage -> predicted bytes; the dense ones only if the form rules a sparse kernel out.
    """

    name: str
    role: str
    shape: tuple[int, ...]
    weights: int
    zeros: int
    counted: int | None
    kernel: str
    reason: str
    needed: float | None
    smaller_from: dict[str, float | None]
    bytes: dict[str, int]

    @property
    def sparsity(self) -> float:
        return self.zeros / self.weights if self.weights else 0.0

    def stored(self, kind: str) -> int:
        """Bytes as Paddle Lite would choose them, kind "fp32" or "int8"."""
        return self.bytes[{"dense": kind, "1x1": kind + " sparse", "2x1": kind + " 2x1"}[self.kernel]]


@dataclass(frozen=True)
class LiteReport:
    """What Paddle Lite's `opt --sparse_model=true` would do with every weight."""

    rows: tuple[LiteRow, ...]
    threshold: float

    @property
    def totals(self) -> dict[str, int]:
        """Predicted bytes: all layers dense; each layer as Paddle Lite would choose; and in each sparse storage every
        layer whose form allows it, the others dense."""
        totals = {name: sum(row.bytes.get(name, row.bytes[name.split()[0]]) for row in self.rows) for name in STORAGES}
        return {**totals, **{f"{kind} as chosen": sum(row.stored(kind) for row in self.rows) for kind in DENSE}}

    def to_dict(self) -> dict[str, Any]:
        rows = [{**asdict(row), "shape": list(row.shape), "sparsity": row.sparsity} for row in self.rows]
        return {"threshold": self.threshold, "rows": rows, "totals": self.totals}

    def to_json(self, indent: int | None = 2) -> str:
        return json.dumps(self.to_dict(), indent=indent)

    def __str__(self) -> str:
        header = ("name", "shape", "sparsity", "counted", "kernel", "runs from", "smaller from", *STORAGES, "why not")
        total = ("total", *[""] * 6, *(f"{self.totals[name]}" for name in STORAGES), "")
        sparse = [row for row in self.rows if row.kernel != "dense"]
        return "\n".join(
            (
                aligned(header, [_cells(row) for row in self.rows], [total], numbers=range(2, 13)),
                "counted: zeros as Paddle Lite counts them; smaller from: fp32 sparse / fp32 2x1 take less than fp32",
                f"{len(sparse)} of {len(self.rows)} layers run sparse at threshold {self.threshold:g}; bytes as Paddle "
                f"Lite would choose: fp32 {self.totals['fp32 as chosen']}, int8 {self.totals['int8 as chosen']}",
            )
        )


def lite_report(program: Any, scope: Any = None, *, threshold: float = 0.6) -> LiteReport:
    """Tell for every weight whether Paddle Lite would run it sparse, and what each storage of it takes.

    A layer runs sparse iff it is a conv2d with float32 or int8 weights, kernel 1x1, groups 1, stride 1, padding 0, and
    counted zeros / weights >= threshold (in float32). The kernel is 2x1 iff of the values in occupied aligned pairs of
    output channels at least 90 % are nonzero; then zeros inside occupied pairs are stored and not counted. Dilation
    does not matter to a 1x1 kernel and is not asked. Predicted bytes of a weight [out, in], with k kept values:

        fp32          4 out in               int8          out in
        fp32 sparse   8 k' + 4 out           int8 sparse   5 k + 4 out
        fp32 2x1      12 p + 8 r + 4 out     int8 2x1      6 p + 5 r + 4 out

    where k' is k with each output channel's count rounded up to a multiple of 4, p counts occupied pairs (6 or 3 bytes
    a value), and r the nonzeros of a last channel without a partner. Each index and each output channel's count takes 4
    bytes. Biases, the scales of int8 and the Program are not counted, and int8 is taken to have the zeros of the stored
    weights. For large layers the sparse storages break even at sparsity 0.50, 0.33, 0.80 and 0.67; `smaller_from`
    has each layer's own, at best: without padding, and for 2x1 with all pairs full.

    Args:
        program: A PIR Program, best the inference Program that is exported.
        scope: scope that holds its weights; default: the global scope.
        threshold: `opt --sparse_threshold`, a sparsity in (0, 1].

    Returns:
        The report: a row for every weight. `str(report)` is a table, `report.to_json()` for machines. Paddle Lite folds
        batch norms, scales and directly following 1x1 convolutions into weights before it looks at them; only the last
        of these changes zeros, and it is not predicted.

    Raises:
        ValueError: The threshold is out of range, or a weight has no value in the scope.

    Example:
        >>> print(lite_report(model.program, model.scope))  # doctest: +SKIP

    Source:
        Paddle Lite, lite/core/optimizer/mir/sparse_conv_detect_pass.cc (read, not run).
    """
    number("threshold", threshold, above=0, most=1, rule="a sparsity in (0, 1]", hint="Paddle Lite's usual one is 0.6")
    graph = open_graph(program, scope)
    params = [param for param in graph.params() if param.is_weight]
    check_initialized(graph, params)
    return LiteReport(tuple(_row(graph, param, threshold) for param in params), threshold)


def _row(graph: PirGraph, param: Param, threshold: float) -> LiteRow:
    weight = graph.array(param.name)
    zeros = param.size - int(np.count_nonzero(weight))
    faults = _faults(graph, param)
    if faults:
        dense = {kind: size * param.size for kind, size in DENSE.items()}
        return LiteRow(
            param.name, param.role, param.shape, param.size, zeros, None, "dense", "; ".join(faults), None, {}, dense
        )
    found = count_zeros(weight.reshape(param.shape[:2]))
    enough = np.float32(found.counted / found.weights) >= np.float32(threshold)
    needed = _least_sparsity(found.weights, threshold)
    kernel = "2x1" if found.is_2x1 else "1x1"
    return LiteRow(
        param.name,
        param.role,
        param.shape,
        param.size,
        zeros,
        found.counted,
        kernel if enough else "dense",
        "" if enough else _too_dense(found, needed),
        needed,
        {storage: found.break_even(storage) for storage in STORAGES if storage not in DENSE},
        {storage: found.bytes(storage) for storage in STORAGES},
    )


def _faults(graph: PirGraph, param: Param) -> list[str]:
    """Every clause of the rule that the layer's form breaks, in Paddle Lite's order."""
    if param.role != "conv2d":
        return [f"{param.role}, not conv2d"]
    op = graph.reader(param)
    producer = op.operand_source(1).get_defining_op()
    if producer.name() != "builtin.parameter":
        return [f"the weight is computed in the Program ({producer.name()}); Paddle Lite looks at stored ones"]
    attrs, found = op.attrs(), []
    if param.dtype not in ("float32", "int8"):
        found.append(f"dtype {param.dtype}, not float32 or int8")
    if param.shape[2:] != (1, 1):
        found.append(f"kernel {'x'.join(map(str, param.shape[2:]))}, not 1x1")
    if param.groups != 1:
        found.append(f"groups {param.groups}, not 1")
    if any(stride != 1 for stride in attrs["strides"]):
        found.append(f"stride {_pair(attrs['strides'])}, not 1")
    if any(attrs["paddings"]):
        found.append(f"padding {_pair(attrs['paddings'])}, not 0")
    return found + ([] if param.size else ["it has no elements"])


def _pair(numbers: Any) -> str:
    return f"{numbers[0]}" if len(set(numbers)) == 1 else "x".join(map(str, numbers))


def _too_dense(found: Zeros, needed: float) -> str:
    zeros = found.weights - found.kept
    where = (
        ""
        if zeros == found.counted
        else f" outside occupied pairs of channels ({zeros / found.weights:.4f} in all; kernel 2x1 stores the others)"
    )
    return f"sparsity {found.counted / found.weights:.4f}{where}, needs {needed:.4f}"


def _least_sparsity(weights: int, threshold: float) -> float:
    """The least zeros / weights, as a sparsity, that reaches the threshold as float32 compares them."""
    zeros = int(threshold * weights * (1 - 1e-6))  # float32 rounds by less
    while np.float32(zeros / weights) < np.float32(threshold):
        zeros += 1
    return zeros / weights


def _cells(row: LiteRow) -> tuple[str, ...]:
    least = [row.smaller_from.get(storage) for storage in ("fp32 sparse", "fp32 2x1")]
    smaller = " / ".join("never" if sparsity is None else f"{sparsity:.2f}" for sparsity in least)
    return (
        row.name,
        "x".join(map(str, row.shape)),
        f"{row.sparsity:.4f}",
        "" if row.counted is None else f"{row.counted / row.weights:.4f}",
        row.kernel,
        "" if row.needed is None else f"{row.needed:.4f}",
        smaller if row.smaller_from else "",
        *(f"{row.bytes[name]}" if name in row.bytes else "" for name in STORAGES),
        row.reason,
    )
