# SPDX-License-Identifier: Apache-2.0
"""What pruning without training gives back."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..allocation import FittedAllocation
from ..pruner import UnstructuredPruner
from ..reporting.table import aligned
from ..saved_model import Model
from .answers import Nearness
from .sweep import Refit

_LOST = 0.5  # error of the outputs from which nobody should use a net as it is


@dataclass(frozen=True)
class Reconstruction:
    """A model pruned without training; prints as a table.

    Attributes:
        model: the pruned model.
        pruner: its masks, to export with or to go on training from.
        rows: what became of each layer, in the order of execution.
        near: how near its outputs are to the dense net's, on held-back inputs.
        by_magnitude: how near they are if the smallest weights fall and the others stay as they are.
        judges: how many inputs were held back.
        refused: how near weights came that were computed anew, where it was less: then `model` is by magnitude.
        recalibrated: whether batch norms were measured anew.
        refined: steps in which all weights that stay were moved together; 0 if that did not help.
        budget: of an allocation by time: what each layer was given, predicted and measured; prints as a table.
    """

    model: Model
    pruner: UnstructuredPruner
    rows: tuple[Refit, ...]
    near: Nearness
    by_magnitude: Nearness
    judges: int
    refused: Nearness | None = None
    recalibrated: bool = False
    refined: int = 0
    budget: FittedAllocation | None = None

    @property
    def error(self) -> float:
        """|outputs - dense outputs| / |dense outputs| on held-back inputs."""
        return self.near.error

    @property
    def agreement(self) -> float | None:
        """Part of held-back inputs whose largest output is that of the dense net; None where there is none."""
        return self.near.agreement

    def __str__(self) -> str:
        def part(value: float | None) -> str:
            return "" if value is None else f"{value:.4f}"

        head = ["name", "weights", "sparsity", "error by magnitude", "error now", "note"]
        cells = [
            [r.name, f"{r.weights}", f"{r.zeros / r.weights:.4f}", part(r.before), part(r.after), r.note]
            for r in self.rows
        ]
        if any(row.rounded is not None for row in self.rows):
            head[5:5] = ["+ rounding to nearest", "+ rounding"]
            for row, cell in zip(self.rows, cells):
                cell[5:5] = ["" if value is None else f"{value:.1e}" for value in (row.nearest, row.rounded)]
        table = aligned(head, cells, numbers=tuple(range(1, len(head) - 1)))
        above = f"{table}\n\n" if self.rows else ""  # by magnitude no layer is solved for
        below = "" if self.budget is None else f"\n\n{self.budget}"
        return f"{above}{self._judgement()}{below}"

    def _judgement(self) -> str:
        """The last line."""
        alone = self.by_magnitude if self.near is not self.by_magnitude else Nearness(math.nan, None)
        said = [f"relative error of the outputs {_beside(self.error, alone.error)}"]
        if self.agreement is not None:
            same = _beside(self.agreement, alone.agreement)
            said.append(f"first answers that agree with the dense net: {same}")
        if self.refused is not None:
            said.append(f"by magnitude alone, as weights computed anew came to an error of {self.refused.error:.4f}")
        if self.error > _LOST:
            said.append("little of the net is left: prune less, or train what is left")
        return f"on {self.judges} held-back {'input' if self.judges == 1 else 'inputs'}: {'; '.join(said)}"


def _beside(value: float, alone: float | None) -> str:
    there = alone is not None and not math.isnan(alone)
    return f"{value:.4f} (by magnitude alone {alone:.4f})" if there else f"{value:.4f}"
