# SPDX-License-Identifier: Apache-2.0
"""What was measured of a net's layers, and what was chosen by that: tables in milliseconds."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Any, Mapping, Sequence

import numpy as np

from ..allocation import PerLayer
from ..masking.update import PrunedLayer
from ..reporting.table import aligned
from ..runtime.int8.options import Int8
from ..saved_model import Model
from .kept_times import processor
from .levels import Levels
from .times import Planned, Times, clock, planned

_log = logging.getLogger(__name__)
_TRIES, _SAME = 3, 1.05  # measurements of the pruned net, until the dense one takes as long as in the table
_DRIFT = 1.15  # of the machine between two measurements, that is worth a word


@dataclass(frozen=True)
class Tuned:
    """A model whose layers were timed at each sparsity; prints as a table.

    Attributes:
        model: it, with weights of its own.
        layers: what is pruned of it.
        levels: zeros that each may have.
        times: seconds of each at each level.
        inputs: what was run.
        int8: how it runs in int8; None for float32.
        threads: threads of a run.
        dense: it, as it is converted.
    """

    model: Model
    layers: Sequence[PrunedLayer]
    levels: Levels
    times: Times
    inputs: Sequence[np.ndarray]
    int8: Int8 | None
    threads: int
    dense: Planned

    def __str__(self) -> str:
        longest = max(self.layers, key=lambda layer: len(self.levels[layer.param.name]))
        parts = [zeros / longest.param.size for zeros in self.levels[longest.param.name]]
        cells, decimals = [], decimals_of(self.times)
        for layer in self.layers:
            times = [in_ms(float(each), decimals) for each in self.times.layers[layer.param.name]]
            shape = "x".join(map(str, layer.param.shape))
            cells.append([layer.param.name, shape, *times, *[""] * (len(parts) - len(times))])
        head = ["ms", "weight", *(f"{part:.1%}" for part in parts)]
        rest = ["not pruned", "", in_ms(self.times.fixed, decimals), *[""] * (len(parts) - 1)]
        return aligned(head, cells, [rest], numbers=tuple(range(2, len(head)))) + f"\n{processor()}"


@dataclass(frozen=True)
class LayerBudget:
    """What one layer was given.

    Attributes:
        name: of the weight.
        size: its weights.
        zeros: how many of them fall.
        dense: seconds that it takes without zeros.
        now: seconds that it takes then.
        error: what it alone adds to the outputs, |y' - y| / |y|.
        note: why nothing falls although it was asked for, if there is a reason beyond the budget.
    """

    name: str
    size: int
    zeros: int
    dense: float
    now: float
    error: float
    note: str = ""


@dataclass(frozen=True)
class TimedAllocation(PerLayer):
    """A sparsity of its own for every layer, and what the net takes then; prints as a table.

    Attributes:
        rows: the pruned layers.
        times: seconds of the dense net's layers at each level, as they were measured.
        predicted: seconds of a run of the pruned net.
        wanted: seconds that were asked for.
        error: what is to be expected of the outputs, |y' - y| / |y|.
        origin: what proposed this choice.
        measured: seconds that the dense and the pruned net took in turn, once both were converted and run.
        asked: what was asked for.
        run: what is run to measure.
    """

    rows: tuple[LayerBudget, ...] = ()
    times: Times = field(default_factory=lambda: Times({}, 0.0))
    predicted: float = 0.0
    wanted: float = 0.0
    error: float = 0.0
    origin: str = ""
    measured: tuple[float, float] | None = None
    asked: Any = None
    run: Tuned | None = field(default=None, repr=False, compare=False)

    @property
    def ratio(self) -> float:
        """Overall sparsity of the pruned layers."""
        return sum(row.zeros for row in self.rows) / max(sum(row.size for row in self.rows), 1)

    def measure(self, model: Model) -> TimedAllocation:
        """The same with what the dense and the pruned model take, both converted and run in turn.

        Up to three times, until the dense model takes what it took when its layers were timed: else the machine is in
        another state.
        """
        known, pair, tries = self.run, (float("inf"), 0.0), 0
        assert known is not None  # a Budget made this
        nets = [known.dense, planned(model, known.int8)]
        while tries < _TRIES and not 1.0 / _SAME < pair[0] / self.times.dense < _SAME:
            clocked_now = clock(nets, known.inputs, threads=known.threads)
            found = (clocked_now[0].whole, clocked_now[1].whole)
            tries, pair = tries + 1, min(pair, found, key=lambda one: abs(one[0] - self.times.dense))
        dense, now = pair
        if not 1.0 / _DRIFT < dense / self.times.dense < _DRIFT:
            _log.warning(
                "the dense model takes %s ms now and took %s ms when its layers were timed: other processes run, or "
                "ran then; on a quiet machine time them again with `tune --again`",
                in_ms(dense),
                in_ms(self.times.dense),
            )
        return replace(self, measured=(dense, now))

    def named(self, names: Mapping[str, str]) -> TimedAllocation:
        """The same under other names of the weights."""
        rows = tuple(replace(row, name=names.get(row.name, row.name)) for row in self.rows)
        own = {names.get(key, key): value for key, value in self.sparsities.items()}
        return replace(self, rows=rows, sparsities=own)

    def __str__(self) -> str:
        head = ["name", "weights", "sparsity", "dense ms", "now ms", "error", "note"]
        decimals = decimals_of(self.times)
        cells = [
            [
                r.name,
                f"{r.size}",
                f"{r.zeros / r.size:.4f}",
                in_ms(r.dense, decimals),
                in_ms(r.now, decimals),
                f"{r.error:.4f}",
                r.note,
            ]
            for r in self.rows
        ]
        dense, size = self.times.dense, sum(row.size for row in self.rows)
        zeros = sum(row.zeros for row in self.rows) / max(size, 1)
        footer = [
            [
                "not pruned",
                "",
                "",
                in_ms(self.times.fixed, decimals),
                in_ms(self.times.fixed, decimals),
                "",
                "other ops, copies, the call",
            ],
            [
                "predicted",
                f"{size}",
                f"{zeros:.4f}",
                in_ms(dense, decimals),
                in_ms(self.predicted, decimals),
                f"{self.error:.4f}",
                self.origin,
            ],
        ]
        if self.measured is not None:
            apart = self.predicted / self.measured[1] - 1.0
            beside = self.predicted / dense * self.measured[0] / self.measured[1] - 1.0
            note = f"predicted {apart:+.1%}, as a part of dense {beside:+.1%}"
            footer.append(["measured", "", "", *(in_ms(each, decimals) for each in self.measured), "", note])
        footer.append(["asked for", "", "", "", in_ms(self.wanted, decimals), "", f"{self.asked}"])
        return aligned(head, cells, footer, numbers=(1, 2, 3, 4, 5)) + f"\n{processor()}"


def in_ms(seconds: float, decimals: int = 3) -> str:
    return f"{1e3 * seconds:.{decimals}f}" if seconds < 0.1 else f"{1e3 * seconds:.1f}"


def decimals_of(times: Times) -> int:
    """Digits of a millisecond that a table shows: more where no layer takes a hundredth of one."""
    slowest = max((float(each.max()) for each in times.layers.values()), default=0.0)
    return 3 if slowest >= 1e-5 else 5
