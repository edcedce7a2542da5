# SPDX-License-Identifier: Apache-2.0
"""When and how much: a schedule is a function step -> sparsity in [0, 1], constant between updates.

Step 0 is the first call of `pruner.step()`, after the first optimizer step. A mask update happens at the steps where
the sparsity rises, and nowhere else, so a schedule also says when. Any function of the step will do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Protocol, runtime_checkable

from .arguments import fraction, number, whole

Schedule = Callable[[int], float]


@runtime_checkable
class Ending(Protocol):
    """A schedule that knows the sparsity it ends with; of any other, the sparsity of the present step is the target."""

    @property
    def final(self) -> float:
        """The last sparsity, in [0, 1]."""


def final_of(schedule: Schedule) -> float | None:
    """The sparsity that a schedule ends with; None if it does not say; ValueError if that is none."""
    given: object = schedule
    final = given.final if isinstance(given, Ending) else None
    return None if final is None else fraction("schedule.final", final)


@dataclass(frozen=True)
class Constant:
    """All at once: 0 before `begin_step`, `sparsity` from then on. One-shot pruning.

    Args:
        sparsity: fraction of zeros, in [0, 1].
        begin_step: >= 0.

    Raises:
        ValueError: A value outside the above.

    Example:
        >>> [Constant(0.5, begin_step=2)(step) for step in range(4)]
        [0.0, 0.0, 0.5, 0.5]
    """

    sparsity: float
    begin_step: int = 0

    def __post_init__(self) -> None:
        fraction("sparsity", self.sparsity)
        _step("begin_step", self.begin_step)

    @property
    def final(self) -> float:
        return self.sparsity

    def __call__(self, step: int) -> float:
        return self.sparsity if step >= self.begin_step else 0.0


@dataclass(frozen=True)
class Polynomial:
    """Gradual magnitude pruning's ramp (GMP): fast at first, when there is much to spare, slow at the end.

    s(t) = final + (initial - final) * (1 - (t - begin_step) / (end_step - begin_step)) ** exponent

    at the updates t, 0 before `begin_step`, and exactly `final` from `end_step` on.

    Args:
        final: Sparsity reached at `end_step`, in [0, 1].
        begin_step: First update, >= 0.
        end_step: Last update, >= begin_step.
        initial: Sparsity of the first update, in [0, final].
        exponent: > 0; 3 in the paper.
        update_every: Steps between updates, >= 1; the last one is at `end_step` even when this does not divide.
        updates: number of updates, instead of `update_every`: that many equal parts, as nearly as whole steps allow.

    Raises:
        ValueError: A value outside the above, or both `update_every` and `updates`.

    Example:
        >>> ramp = Polynomial(final=0.8, begin_step=0, end_step=4)
        >>> [round(ramp(step), 4) for step in range(6)]
        [0.0, 0.4625, 0.7, 0.7875, 0.8, 0.8]

    Source: Zhu and Gupta 2017, arXiv:1710.01878.
    """

    final: float
    begin_step: int
    end_step: int
    initial: float = 0.0
    exponent: float = 3.0
    update_every: int | None = None
    updates: int | None = None

    def __post_init__(self) -> None:
        fraction("final", self.final)
        fraction("initial", self.initial)
        _step("begin_step", self.begin_step)
        _step("end_step", self.end_step)
        if self.initial > self.final:
            raise ValueError(
                f"`initial` must be <= `final`, got {self.initial} > {self.final}; pruned weights stay pruned."
            )
        if self.end_step < self.begin_step:
            raise ValueError(f"`end_step` must be >= `begin_step`, got {self.end_step} < {self.begin_step}.")
        number("exponent", self.exponent, above=0)
        if self.update_every is not None and self.updates is not None:
            raise ValueError("give `update_every` or `updates`, not both.")
        for name, count in (("update_every", self.update_every), ("updates", self.updates)):
            if count is not None:
                whole(name, count, least=1)

    def __call__(self, step: int) -> float:
        if step < self.begin_step:
            return 0.0
        if step >= self.end_step:
            return self.final
        done = (self._last_update(step) - self.begin_step) / (self.end_step - self.begin_step)
        left: float = (1.0 - done) ** self.exponent
        return self.final + (self.initial - self.final) * left

    def _last_update(self, step: int) -> int:
        span, since = self.end_step - self.begin_step, step - self.begin_step
        if self.updates is None:
            return step - since % (self.update_every or 1)
        part = since * self.updates // span
        # The first step of part k is ceil(k * span / updates).
        return self.begin_step - (-part * span // self.updates)


def _step(name: str, value: int) -> int:
    return whole(name, value, rule="a step, an int >= 0")
