# SPDX-License-Identifier: Apache-2.0
"""The pruner in the words of PaddleSlim's gradual one."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Mapping, Sequence

from .allocation import Allocation
from .compat import paddleslim
from .criteria import Criterion
from .patterns import Pattern
from .pruner import UnstructuredPruner
from .selection import Select


class GMPUnstructuredPruner(UnstructuredPruner):
    """Gradual magnitude pruning in PaddleSlim's words: stay dense, prune along a cubic ramp, then keep training.

    Args:
        program: As for `UnstructuredPruner`, and so are the other arguments.
        ratio: The sparsity at the end, in [0, 1].
        configs: A dict of `stable_iterations` (steps without pruning, >= 0), `pruning_iterations` (length of the ramp,
            >= 1), `tunning_iterations` (steps after it, >= 0; the sparsity stays however many there are),
            `pruning_steps` (rises of the ramp, >= 1), `initial_ratio` (its first sparsity) and `resume_iteration`
            (steps done before, 0 for a new run). Step t is the t-th call of `step()` from 0: the first
            `stable_iterations` calls prune nothing, and the last of the next `pruning_iterations` reaches `ratio`.

    Raises:
        ValueError: Beside those of `UnstructuredPruner`: a missing, unknown or senseless key, by name.
    """

    def __init__(
        self,
        program: Any,
        ratio: float = paddleslim.RATIO,
        scope: Any = None,
        place: Any = None,
        prune_params_type: str | None = None,
        skip_params_func: Callable[[Any], Iterable[str]] | None = None,
        local_sparsity: bool = False,
        sparse_block: Sequence[int] | None = None,
        configs: Mapping[str, Any] | None = None,
        *,
        select: Select | None = None,
        criterion: Criterion | None = None,
        pattern: Pattern | str | None = None,
        allocation: Allocation | None = None,
        optimizer: Any = None,
        input_spec: Sequence[Any] | None = None,
    ) -> None:
        schedule, resumed = paddleslim.gmp_schedule(ratio, configs)
        super().__init__(
            program,
            mode="ratio",
            scope=scope,
            place=place,
            prune_params_type=prune_params_type,
            skip_params_func=skip_params_func,
            local_sparsity=local_sparsity,
            sparse_block=sparse_block,
            select=select,
            criterion=criterion,
            pattern=pattern,
            allocation=allocation,
            schedule=schedule,
            optimizer=optimizer,
            input_spec=input_spec,
        )
        self.steps = resumed
