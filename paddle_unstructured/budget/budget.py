# SPDX-License-Identifier: Apache-2.0
"""`Budget`: prune until a run takes so many milliseconds, and lose as little as that allows."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any, Iterable, Mapping, Sequence, Union

import numpy as np

from .. import arguments
from ..allocation import Quota
from ..compat.paddleslim import THRESHOLD
from ..export.inputs import random_inputs
from ..graph import Param
from ..masking.plan import make_plan
from ..masking.update import PrunedLayer
from ..patterns import Int8Block, Pattern
from ..reconstruction.samples import Feed, split
from ..reconstruction.subject import subject
from ..runtime.engine import MOST_THREADS
from ..runtime.int8.options import Int8
from ..saved_model import Model
from ..selection import Select, all_weights
from .choice import choose
from .errors import Alone
from .kept_times import clocked, facts
from .levels import levels_of
from .search import Found
from .timed import LayerBudget, TimedAllocation, Tuned, in_ms
from .times import Clocked, clock, planned, table, variants

_log = logging.getLogger(__name__)
_MOST_ROWS = 65_536
_HIGHEST = 0.98
_RANGES = 16  # samples for ranges of int8


@dataclass(frozen=True)
class Budget:
    """Prune until one run takes so long, with the least error of the outputs that this costs.

    Each layer's time at each sparsity is measured on this machine, on the kernels that `convert` gives it; its error
    is that of the net's outputs if it alone is pruned and repaired. Of all choices within the time, the one with the
    least sum of squared errors is found by dynamic programming. It, what `Uniform`, `Global` and `LAMP` choose within
    the time, and some proposals that follow from their errors are each pruned and repaired as a whole; the best counts.

    Args:
        ms: milliseconds of one run, > 0; or
        speedup: how many times faster than the dense model, converted, > 1.
        threads: threads of one run.
        batch: rows of one run, where the model leaves their number open.
        int8: whether the model is to run in int8, on ranges of the same data; or an `Int8` that says how.
        shapes: input name -> shape of what is timed. Default: that of the calibration data.
        highest: sparsity that no layer goes beyond, in (0, 1).
        trials: proposals that are tried as a whole; more take longer. 0: errors of single layers alone decide.

    Raises:
        ValueError: Neither or both of `ms` and `speedup`, or a value out of range.

    Example:
        >>> done = reconstruct("model", batches, pattern="1x4", allocation=Budget(ms=2.0, int8=True))  # doctest: +SKIP
        >>> print(done.budget)  # predicted and measured time, layer by layer  # doctest: +SKIP

    Source: Frantar & Alistarh 2022, arXiv:2201.13096 (SPDY: sparsities by a speedup, by dynamic programming).
    """

    ms: float | None = None
    speedup: float | None = None
    threads: int = 1
    batch: int = 1
    int8: Union[bool, Int8] = False
    shapes: Mapping[str, Sequence[int]] | None = None
    highest: float = _HIGHEST
    trials: int = 16

    def __post_init__(self) -> None:
        if (self.ms is None) == (self.speedup is None):
            got = "neither" if self.ms is None else "both"
            raise ValueError(f"a Budget must have `ms` or `speedup`, got {got}; give one of them.")
        if self.ms is not None:
            arguments.number("ms", self.ms, above=0.0)
        else:
            arguments.number("speedup", self.speedup, above=1.0)
        arguments.whole("threads", self.threads, least=1, most=MOST_THREADS)
        arguments.whole("batch", self.batch, least=1, most=_MOST_ROWS)
        arguments.number("highest", self.highest, above=0.0, below=1.0)
        arguments.whole("trials", self.trials, least=0)
        if not isinstance(self.int8, (bool, Int8)):
            raise arguments.wrong_kind("int8", "True, False or an Int8", self.int8)
        if isinstance(self.int8, Int8) and self.int8.most_error is not None:
            raise ValueError(
                "`int8` of a Budget must not have `most_error`, which puts layers back into float32, where they take "
                "longer; name them with `skip`."
            )

    def __str__(self) -> str:
        what = f"{self.ms:g} ms" if self.ms is not None else f"{self.speedup:g} times faster"
        kind = "int8" if self.int8 else "float32"
        return f"{what}, {kind}, {self.threads} thread(s), batch {self.batch}"

    def allocate(
        self,
        model: Any,
        data: Iterable[Mapping[str, np.ndarray]],
        *,
        pattern: Pattern | str | None = None,
        select: Select = all_weights,
        seed: int = 0,
        fetch: Sequence[Any] | None = None,
        scope: Any = None,
        place: Any = None,
        input_spec: Sequence[Any] | None = None,
    ) -> TimedAllocation:
        """Find the sparsities for a model: an allocation for a pruner that trains towards them.

        Args:
            model, data, pattern, select, seed, fetch, scope, place, input_spec: as for `reconstruct`.

        Raises:
            ValueError: The time cannot be reached; says what can. The model is not converted whole.

        Example:
            >>> fit = Budget(speedup=3).allocate(program, batches, fetch=[logits])  # doctest: +SKIP
            >>> pruner = GMPUnstructuredPruner(program, allocation=fit, ...)  # doctest: +SKIP
        """
        whose = subject(model, fetch=fetch, scope=scope, place=place, input_spec=input_spec)
        with whose.computing():
            found = self.fitted(whose.model, split(whose.model, data), pattern=pattern, select=select, seed=seed)
        return found.named({its: whose.name(its) for its in found.sparsities})

    def fitted(
        self,
        model: Model,
        batches: Sequence[tuple[Feed, str]],
        *,
        pattern: Pattern | str | None = None,
        select: Select = all_weights,
        seed: int = 0,
    ) -> TimedAllocation:
        """The same for an inference model, on data that is split."""
        known = self.tuned(model, batches, pattern=pattern, select=select)
        wanted = known.times.dense / self.speedup if self.speedup is not None else 1e-3 * float(self.ms or 0.0)
        self._check_reachable(known, wanted)
        found, alone = Found({}, "", 0.0), dict[str, Alone]()
        if known.times.dense > wanted:
            found, alone = choose(
                known.model,
                known.layers,
                known.levels,
                known.times,
                wanted,
                batches,
                trials=self.trials,
                seed=seed,
            )
        return self._result(known, found, alone, wanted)

    def tuned(
        self,
        model: Model,
        batches: Sequence[tuple[Feed, str]],
        *,
        pattern: Pattern | str | None = None,
        select: Select = all_weights,
        again: bool = False,
    ) -> Tuned:
        """What each layer takes at each sparsity: kept from the last time, or measured; `again`: measured anyway."""
        model, int8 = model.copy(), self._int8(batches)
        layers = _layers(model, pattern=pattern, select=select)
        levels, inputs = levels_of(layers, self.highest), self._inputs(model, batches)
        dense = planned(model, int8)
        own = facts(dense, layers, levels, inputs, threads=self.threads)

        def measure() -> list[Clocked]:
            return clock(variants(model, layers, levels, int8), inputs, threads=self.threads)

        count = max(len(each) for each in levels.values())
        times = table(dense, clocked(own, count, measure, again=again), levels)
        return Tuned(model, layers, levels, times, inputs, int8, self.threads, dense)

    # -- of an object that is given where an allocation is wanted

    def sparsity(self, params: Sequence[Param]) -> float:
        raise ValueError(_UNFITTED)

    def budget(self, params: Sequence[Param], sparsity: float, limits: Sequence[int]) -> Quota:
        raise ValueError(_UNFITTED)

    def decide(self, *_: Any) -> Any:
        raise ValueError(_UNFITTED)

    def due(self, step: int, sparsity: float, applied: float) -> bool:
        raise ValueError(_UNFITTED)

    # -- parts

    def _int8(self, batches: Sequence[tuple[Feed, str]]) -> Int8 | None:
        if self.int8 is False:
            return None
        if isinstance(self.int8, Int8):
            return self.int8 if self.int8.data is None else replace(self.int8, most_error=1.0)
        feed = batches[0][0]  # of times, ranges are no matter
        return Int8({name: array[:_RANGES] for name, array in feed.items()}, "minmax", most_error=1.0)

    def _inputs(self, model: Model, batches: Sequence[tuple[Feed, str]]) -> list[np.ndarray]:
        """One array for each input of a run."""
        if self.shapes is not None:
            found = random_inputs(model, self.batch, 0, self.shapes)
            return [found[name] for name in model.feeds]
        feed, inputs = batches[0][0], []
        for name, value in model.inputs.items():
            rows = feed[name]
            if value.shape and value.shape[0] < 0:
                rows = rows[np.arange(self.batch) % len(rows)]
            inputs.append(np.ascontiguousarray(rows))
        return inputs

    def _check_reachable(self, known: Tuned, wanted: float) -> None:
        times = known.times
        if times.fastest > wanted:
            fastest = times.dense / times.fastest
            in_blocks = all(isinstance(layer.pattern, Int8Block) for layer in known.layers)
            raise ValueError(
                f"{self} cannot be reached: with every layer at its fastest, at most {self.highest:g} zeros, a run "
                f"takes {in_ms(times.fastest)} ms ({fastest:.2f} times faster than dense, {in_ms(times.dense)} ms), of "
                f"which {in_ms(times.fixed)} ms are not pruned; ask for more time"
                + (", or prune in blocks of 1x4, which int8 skips." if self.int8 and not in_blocks else ".")
            )
        if times.dense <= wanted:
            _log.warning(
                "the dense model takes %s ms, no more than the %s ms that are asked for: nothing is pruned",
                in_ms(times.dense),
                in_ms(wanted),
            )

    def _result(self, known: Tuned, found: Found, alone: Mapping[str, Alone], wanted: float) -> TimedAllocation:
        rows, times = [], known.times
        for layer in known.layers:
            name, size = layer.param.name, layer.param.size
            zeros, levels = found.zeros.get(name, 0), known.levels[name]
            error = float(np.interp(zeros, levels, alone[name].errors)) ** 0.5 if name in alone else 0.0
            note = "" if np.ptp(times.layers[name]) > 0.0 else "zeros make it no faster"
            dense, now = times.of(name, 0, known.levels), times.of(name, zeros, known.levels)
            rows.append(LayerBudget(name, size, zeros, dense, now, error, note))
        return TimedAllocation(
            sparsities={row.name: row.zeros / row.size for row in rows},
            rows=tuple(rows),
            times=times,
            predicted=times.fixed + sum(row.now for row in rows),
            wanted=wanted,
            error=(sum(row.error**2 for row in rows) if found.error is None else found.error) ** 0.5,
            origin=found.origin,
            asked=self,
            run=known,
        )


_UNFITTED = (
    "a Budget must see a model and data before a pruner can use it: give "
    "`allocation=Budget(...).allocate(model, batches)`, or the Budget itself to `reconstruct`."
)


def _layers(model: Model, **words: Any) -> list[PrunedLayer]:
    """What a pruner with these words would prune."""
    nothing: dict[str, Any] = dict.fromkeys(
        ("mode", "prune_params_type", "skip_params_func", "sparse_block", "criterion", "allocation", "schedule")
    )
    nothing.update({"rules": None, "ratio": 0.0, "threshold": THRESHOLD, "local_sparsity": False})
    plan = make_plan(model.graph, **{**nothing, **words})
    return plan.layers
