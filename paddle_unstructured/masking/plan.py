# SPDX-License-Identifier: Apache-2.0
"""What is to be done, worked out once: which layers, how each of them is pruned, in what allocation and schedule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Callable, Iterable, Mapping, Sequence

from ..allocation import Allocation, OwnSparsity, PerLayer, Quota
from ..arguments import fraction
from ..compat import paddleslim
from ..compat.config_list import Rules, choices
from ..criteria import Criterion, Watching, as_watching, source_of
from ..graph import Gathering, Graph, Param, gather
from ..patterns import Insistent, Pattern, own_sparsity
from ..reporting import report
from ..schedules import Schedule, final_of
from ..selection import Select, Verdict, judge, names_it, names_to_skip, tell
from .own_parts import budget_of, due_of, limit_of, reason_of, sparsity_of
from .update import PrunedLayer


@dataclass(frozen=True)
class PruningPlan:
    """How a Program or an nn.Layer is to be pruned.

    Attributes:
        verdicts: On every param.
        layers: The pruned ones, in the order in which equal scores fall.
        allocation, schedule: Parts.
        gatherings: What has to be watched in the training Program before the layers can be scored.
        look: What would be chosen of the Program as it is now; takes the params that were chosen before.
    """

    verdicts: list[Verdict]
    layers: list[PrunedLayer]
    allocation: Allocation
    schedule: Schedule
    gatherings: list[Gathering]
    look: Callable[[Sequence[Param]], Choice]

    @property
    def params(self) -> list[Param]:
        return [layer.param for layer in self.layers]

    @property
    def target(self) -> float | None:
        """The sparsity that the schedule ends with; None if it does not say."""
        return final_of(self.schedule)

    def budget(self, sparsity: float) -> Quota:
        """What may fall at an overall sparsity."""
        return budget_of(self.allocation, self.params, sparsity, list(map(_limit, self.layers)))

    def asked(self, step: int) -> float:
        """The schedule's sparsity at a step; ValueError if that is none."""
        return fraction(f"schedule({step})", self.schedule(step))

    def due(self, step: int, applied: float) -> bool:
        return due_of(self.allocation, step, self.asked(step), applied)

    def again(self, graph: Graph) -> PruningPlan:
        """The plan for the Program as it is now: without layers that an optimizer which came after it does not train,
        and with those that it trains; the same layers, and perhaps other reasons, if nothing of that changes them.

        Raises:
            ValueError: None is left.
        """
        now = self.look(self.params)
        pruned, before = now.pruned, {param.name for param in self.params}
        names = {param.name for param in pruned}
        if names == before:
            return self if now.verdicts == self.verdicts else replace(self, verdicts=now.verdicts)
        if not pruned:
            raise ValueError(_nothing(now.verdicts))
        tell(now.verdicts)
        allocation = now.allocation
        if isinstance(allocation, PerLayer):
            own = {key: value for key, value in allocation.sparsities.items() if key not in before - names}
            allocation = replace(allocation, sparsities=own)
        gatherings = _gatherings(graph, pruned, now.parts)
        return replace(
            self,
            verdicts=now.verdicts,
            layers=_layers(graph, pruned, now.parts, gatherings),
            allocation=allocation,
            gatherings=gatherings,
        )


@dataclass(frozen=True)
class Choice:
    """What of a Program is pruned, and how.

    Attributes:
        verdicts: On every param.
        parts: Pattern and criterion, by the name of a pruned param.
        allocation: The part.
    """

    verdicts: list[Verdict]
    parts: Mapping[str, tuple[Pattern, Criterion]]
    allocation: Allocation

    @property
    def pruned(self) -> list[Param]:
        return [verdict.param for verdict in self.verdicts if verdict.pruned]


def make_plan(
    graph: Graph,
    *,
    mode: str | None,
    ratio: float,
    threshold: float,
    prune_params_type: str | None,
    skip_params_func: Callable[[Any], Iterable[str]] | None,
    local_sparsity: bool,
    sparse_block: Sequence[int] | None,
    select: Select | None,
    criterion: Criterion | None,
    pattern: Pattern | str | None,
    allocation: Allocation | None,
    schedule: Schedule | None,
    rules: Rules | None,
) -> PruningPlan:
    """Turn the words of `UnstructuredPruner` into a plan; nothing is changed by that.

    Raises:
        ValueError, TypeError: As listed there.
    """
    if rules is not None:
        paddleslim.only_rules(
            mode=mode,
            local_sparsity=local_sparsity or None,
            sparse_block=sparse_block,
            pattern=pattern,
            criterion=criterion,
            allocation=allocation,
        )
    chosen_allocation = paddleslim.to_allocation(mode, threshold, local_sparsity, allocation)
    chosen_pattern, chosen_criterion = paddleslim.to_pattern(sparse_block, pattern), paddleslim.to_criterion(criterion)
    paddleslim.check_schedule(chosen_allocation, ratio, schedule)
    chosen_select = paddleslim.to_select(prune_params_type, select)
    skipped = names_to_skip(skip_params_func, graph, graph.params())

    def look(before: Sequence[Param]) -> Choice:
        verdicts = judge(graph.params(), chosen_select, skipped)
        parts = {v.param.name: (chosen_pattern, chosen_criterion) for v in verdicts if v.pruned}
        allocation = chosen_allocation
        if rules is not None:
            wanted = {v.param.name: v.param for v in verdicts if v.pruned}
            found = choices(rules, [*wanted.values(), *(p for p in before if p.name not in wanted)])
            verdicts = [
                v if not v.pruned or v.param.name in found else Verdict(v.param, False, "excluded by the rules")
                for v in verdicts
            ]
            parts = {name: (choice.pattern, choice.criterion) for name, choice in found.items()}
        verdicts = [_fitted(verdict, parts, chosen_select) for verdict in verdicts]
        pruned = [verdict.param.name for verdict in verdicts if verdict.pruned]
        if rules is not None and pruned:
            allocation = PerLayer({name: found[name].sparsity for name in pruned})
        return Choice(verdicts, parts, allocation)

    choice = look([])
    if not choice.pruned:
        raise ValueError(_nothing(choice.verdicts))
    gatherings = _gatherings(graph, choice.pruned, choice.parts)
    layers = _layers(graph, choice.pruned, choice.parts, gatherings)
    chosen_schedule = paddleslim.to_schedule(_own_sparsity(layers, choice.allocation), ratio, schedule)
    plan = PruningPlan(choice.verdicts, layers, choice.allocation, chosen_schedule, gatherings, look)
    first = plan.asked(0)
    plan.budget(first if plan.target is None else plan.target)  # refuses now what could not be met later
    plan.due(0, 0.0)
    tell(choice.verdicts)
    return plan


def _fitted(verdict: Verdict, parts: Mapping[str, tuple[Pattern, Criterion]], select: Select) -> Verdict:
    """Ask the pattern whether the param has the axes it needs."""
    if not verdict.pruned:
        return verdict
    param, pattern = verdict.param, parts[verdict.param.name][0]
    unfit = reason_of(pattern, param)
    if unfit and isinstance(pattern, Insistent) and pattern.insists and names_it(select, param):
        raise ValueError(
            f"{pattern!r} must fit what `select` names, got {param.name!r} ({param.role}, shape {list(param.shape)}): "
            f"{unfit}; leave it out with `select`."
        )
    return Verdict(param, False, unfit, unfit=True) if unfit else verdict


def _layers(
    graph: Graph,
    pruned: Sequence[Param],
    parts: Mapping[str, tuple[Pattern, Criterion]],
    gatherings: Sequence[Gathering],
) -> list[PrunedLayer]:
    return [
        PrunedLayer(param, criterion, pattern, information(graph, param, criterion, gatherings))
        for param, (pattern, criterion) in ((param, parts[param.name]) for param in pruned)
    ]


def _nothing(verdicts: Sequence[Verdict]) -> str:
    return f"nothing to prune: none of the {len(verdicts)} params is selected.\n{report.Explanation(verdicts)}"


def _gatherings(
    graph: Graph, pruned: Sequence[Param], parts: Mapping[str, tuple[Pattern, Criterion]]
) -> list[Gathering]:
    watching: list[tuple[Watching, list[Param]]] = []
    for param in pruned:
        criterion = as_watching(parts[param.name][1])
        if criterion is None:
            continue
        known = next((params for other, params in watching if other == criterion), None)
        if known is None:
            watching.append((criterion, known := []))
        known.append(param)
    return [gather(graph, params, criterion) for criterion, params in watching]


def information(
    graph: Graph, param: Param, criterion: Criterion, gatherings: Sequence[Gathering] = ()
) -> Callable[[], str] | None:
    """Gives the name of the variable that the criterion looks at beside the weight, if it does."""
    if source_of(criterion) is None:
        return None
    if as_watching(criterion) is not None:
        gathering = next(g for g in gatherings if g.name_for(param))
        return lambda: str(gathering.name_for(param))
    scale = graph.norm_scale(param)
    if scale is None:
        raise ValueError(
            f"{criterion!r} needs a norm with a scale behind the layer, and there is none behind "
            f"{param.name}; leave it out with `select`."
        )
    return lambda: scale


def _own_sparsity(layers: Sequence[PrunedLayer], allocation: Allocation) -> float | None:
    """The sparsity that the parts mean by themselves, if they do: layers' own numbers, or a complete n:m."""
    if isinstance(allocation, OwnSparsity):
        return sparsity_of(allocation, [layer.param for layer in layers])
    if all(own_sparsity(layer.pattern) is not None for layer in layers):
        return sum(map(_limit, layers)) / sum(layer.param.size for layer in layers)
    return None


def _limit(layer: PrunedLayer) -> int:
    return limit_of(layer.pattern, layer.param)
