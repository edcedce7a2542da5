# SPDX-License-Identifier: Apache-2.0
"""The best recipe that the tables of `benchmarks/accuracy.py` found: from a trained net to a sparse one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..allocation import LAMP, Allocation
from ..arguments import fraction, number, whole
from ..compat.paddleslim import THRESHOLD, to_allocation, to_pattern
from ..patterns import Pattern
from ..pruner import UnstructuredPruner
from ..schedules import Polynomial
from .distillation import check_mixture, distill


@dataclass(frozen=True)
class Recipe:
    """Fine-tuning of a trained net into a sparse one, in four parts that work alone too.

    1. `rate`: the learning rate of the dense run's peak again, annealed by a cosine to 0 over all steps.
    2. `schedule`: the cubic ramp of gradual pruning over the first part of the steps; the rest is for recovering.
    3. `allocation`: LAMP, so that no layer starves.
    4. `loss`: the dense net as a teacher, if `weight` is not 0. It cost time and was no sure gain on small nets.

    Args:
        ratio: Sparsity at the end, in [0, 1].
        steps: Optimizer steps of the whole fine-tuning, >= 2.
        pattern: pattern, as for `UnstructuredPruner`.
        allocation: allocation, as for `UnstructuredPruner`.
        ramp: Part of the steps in which the sparsity rises, in (0, 1].
        initial: Sparsity of the first update, less if `ratio` is.
        updates: Rises of the sparsity, fewer in a short ramp.
        weight, temperature: share and temperature of the teacher's answers in the loss; `distill` explains them.

    Raises:
        ValueError: A value outside the above.

    Example:
        >>> recipe = Recipe(ratio=0.95, steps=2000)
        >>> [round(recipe.rate(step), 3) for step in (0, 1000, 2000)]
        [1.0, 0.5, 0.0]
        >>> [round(recipe.schedule(step), 3) for step in (0, 500, 1000)]
        [0.15, 0.85, 0.95]
    """

    ratio: float
    steps: int
    pattern: Pattern | str | None = None
    allocation: Allocation = LAMP()
    ramp: float = 0.5
    initial: float = 0.15
    updates: int = 50
    weight: float = 0.0
    temperature: float = 4.0

    def __post_init__(self) -> None:
        fraction("ratio", self.ratio)
        fraction("initial", self.initial)
        whole("steps", self.steps, least=2, rule="the optimizer steps of the whole run, an int >= 2")
        whole("updates", self.updates, least=1)
        to_pattern(None, self.pattern)
        to_allocation("ratio", THRESHOLD, False, self.allocation)
        number("ramp", self.ramp, above=0, most=1, rule="a part of the steps, in (0, 1]")
        check_mixture(self.weight, self.temperature)
        _ = self.schedule  # checks what the ramp is made of

    def rate(self, step: int) -> float:
        """The factor of the peak learning rate: (1 + cos(pi * step / steps)) / 2, 0 after the last step."""
        return (1.0 + math.cos(math.pi * min(step / self.steps, 1.0))) / 2.0

    @property
    def schedule(self) -> Polynomial:
        """The sparsity, step by step."""
        end = max(round(self.ramp * self.steps), 1)
        return Polynomial(
            final=self.ratio,
            initial=min(self.initial, self.ratio),
            begin_step=0,
            end_step=end,
            updates=self.updates if self.updates < end else end,
        )

    def loss(self, loss: Any, logits: Any, teacher_logits: Any, **kwargs: Any) -> Any:
        """`distill` with the recipe's weight and temperature; call it before `minimize`. Without weight, the loss."""
        if not self.weight:
            return loss
        return distill(loss, logits, teacher_logits, weight=self.weight, temperature=self.temperature, **kwargs)

    def pruner(self, program: Any, **kwargs: Any) -> UnstructuredPruner:
        """The pruner of the recipe; further words are those of `UnstructuredPruner`."""
        return UnstructuredPruner(
            program, pattern=self.pattern, allocation=self.allocation, schedule=self.schedule, **kwargs
        )
