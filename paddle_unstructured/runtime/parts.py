# SPDX-License-Identifier: Apache-2.0
"""The parts of a Program that the runtime takes, where it does not take it whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import AbstractSet, Collection, Container, Iterable, Sequence

from ..graph.values import exists
from ..saved_model import Model
from .net import Net
from .op_graph import OpGraph, convex_parts
from .read_parts import RefusedAt, read_part, survey
from .refusals import kind_of, multiply_adds
from .views import OPEN

LEAST_SHARE = 0.005  # of the multiply-adds: below, handing tensors over costs more than it gains
MOST_BORDER = 32  # outputs of one operator


@dataclass(frozen=True)
class Part:
    """Some ops of a Program that are one operator.

    Attributes:
        ops: places of the ops in the block.
        inside: these and those that make constants for them.
        inputs: numbers of the values that it reads, as the file numbers them.
        outputs: numbers of the values that it makes.
        net: what it computes.
        share: fraction of the Program's multiply-adds, in [0, 1].
        ends: op behind it or before it -> why that is not in it.
    """

    ops: frozenset[int]
    inside: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    net: Net
    share: float
    ends: dict[str, str]


@dataclass
class Finder:
    """Finds the parts of a model; what does not go into one is foreign, and parts are sought again.

    Args:
        model: an inference model, as it is saved.
        graph: its ops, as they are saved.
    """

    model: Model
    graph: OpGraph
    foreign: dict[int, str] = field(default_factory=dict)
    odd: set[int] = field(default_factory=set)  # values whose first axis is not the samples
    blamed: dict[int, str] = field(
        default_factory=dict
    )  # ops that do not compute what Paddle computes, as we read them

    def __post_init__(self) -> None:
        self.ops = list(self.model.program.global_block().ops)
        self.values = {
            number: op.result(i) for op, made in zip(self.ops, self.graph.makes) for i, number in enumerate(made)
        }
        self.work = [multiply_adds(op) for op in self.ops]
        # Around branches and loops Paddle loses track of layouts: the ops there stay as they are in the dense net.
        self.batch_is_open = any(list(one.shape)[:1] == [OPEN] for one in self.model.inputs.values())
        branches = [at for at, op in enumerate(self.ops) if list(op.blocks())]
        self.of_branches = {value for at in branches for value in self.graph.makes[at]}
        self.odd.update(self.of_branches)
        maker = self.graph.maker
        self.before_branches = {maker[v] for at in branches for v in self.graph.reads[at] if v in maker}

    def find(self) -> list[Part]:
        """The parts, in the order of their first ops; those behind boxes and the like, which count otherwise, last."""
        found = self._of_samples()
        whole, claimed = max(1, sum(self.work)), set[int]().union(*(part.inside for part in found))
        for samples in self._first_extents(claimed):
            if sum(work for at, work in enumerate(self.work) if at not in claimed) / whole < LEAST_SHARE:
                break
            more = self._of_others(samples, claimed)
            if more and self._have_an_order([*found, *more]):
                found += more
                claimed.update(*(part.inside for part in more))
        return found

    def _first_extents(self, claimed: Collection[int]) -> list[int]:
        """First extents of the weighty ops that are in no part: boxes that are cut out of an image, say."""
        work = Counter[int]()
        for at, op in enumerate(self.ops):
            if self.work[at] and at not in claimed and self.is_tensor(self.graph.makes[at][0]):
                work[next(iter(op.result(0).shape), 0)] += self.work[at]
        return [extent for extent, _ in work.most_common() if extent]

    def _of_others(self, samples: int, claimed: Collection[int]) -> list[Part]:
        """Parts whose batch is not the model's: `samples` is their first extent."""
        foreign = {**dict.fromkeys(claimed, ""), **self.blamed}
        data = [at for at, op in enumerate(self.ops) if op.name() == "pd_op.data" and not op.result(0).persistable]
        foreign.update(dict.fromkeys(data, ""))
        never = set(self.of_branches)
        never |= {v for v in self.values if samples == OPEN and self.is_tensor(v) and self._counts_samples(v)}
        while True:
            found = survey(self.model, foreign, [self.values[value] for value in never], samples=samples)
            ours = {at for at in found.activations if self.ops[at].name() != "builtin.combine"}
            before = ours & self.before_branches
            try:
                if before:
                    raise RefusedAt(dict.fromkeys(before, "it makes what a branch or a loop reads"))
                return self._parts(ours, self._free(found.activations, found.foreign))
            except RefusedAt as refusal:
                foreign.update(refusal.reasons)

    def _counts_samples(self, value: int) -> bool:
        """Whether the first axis is that of the model's samples, as far as the Program says."""
        return list(self.values[value].shape)[:1] == [OPEN] and value not in self.odd and self.batch_is_open

    def _have_an_order(self, parts: Sequence[Part]) -> bool:
        """Whether each part can run as a whole behind those that it reads from."""
        group = {at: -1 - i for i, part in enumerate(parts) for at in part.ops}
        before: dict[int, set[int]] = {}
        for at, read in enumerate(self.graph.reads):
            one = group.get(at, at)
            makers = {self.graph.maker[value] for value in read if value in self.graph.maker}
            before.setdefault(one, set()).update({group.get(maker, maker) for maker in makers} - {one})
        done = set[int]()
        while ready := [one for one, sources in before.items() if one not in done and sources <= done]:
            done.update(ready)
        return len(done) == len(before)

    def _free(self, activations: AbstractSet[int], foreign: Container[int]) -> set[int]:
        """Ops that belong to whoever reads them: constants, weights, lists."""
        rest = {at for at in range(len(self.ops)) if at not in activations and at not in foreign}
        free = {at for at in rest if self.ops[at].name() not in ("pd_op.data", "pd_op.fetch")}
        free |= {at for at in rest if self.ops[at].name() == "pd_op.data" and self.ops[at].result(0).persistable}
        return free | {at for at in activations if self.ops[at].name() == "builtin.combine"}

    def _of_samples(self) -> list[Part]:
        """Parts whose batch is the model's."""
        while True:
            found = survey(self.model, self.foreign, [self.values[value] for value in self.odd])
            self.foreign = found.foreign
            before = (found.activations & self.before_branches) - set(self.foreign)
            if before:
                self.foreign.update(dict.fromkeys(before, "it makes what a branch or a loop reads"))
                continue
            free = self._free(found.activations, found.foreign)
            ours = {at for at in found.activations if self.ops[at].name() not in ("pd_op.data", "builtin.combine")}
            try:
                return self._parts(ours, free)
            except RefusedAt as refusal:
                self.foreign.update(refusal.reasons)

    def leave_out(self, part: Part, why: str) -> None:
        """Make a part's ops foreign."""
        self.foreign.update(dict.fromkeys(part.ops, why))
        self.blamed.update(dict.fromkeys(part.ops, why))

    def _parts(self, ours: set[int], free: set[int]) -> list[Part]:
        """Those that are worth an operator.

        Raises:
            RefusedAt: Some ops do not go into the parts that they fell into; names them of all parts.
        """
        parts, refused = list[Part](), dict[int, str]()
        for ops in convex_parts(self.graph, ours, free):
            try:
                part = self._part(ops, free)
            except RefusedAt as refusal:
                refused.update(refusal.reasons)
            else:
                parts.extend([part] if part is not None else [])
        if refused:
            raise RefusedAt(refused)
        return parts

    def _part(self, ops: set[int], free: set[int]) -> Part | None:
        """None if it is not worth an operator."""
        whole = max(1, sum(self.work))
        if sum(self.work[at] for at in ops) / whole < LEAST_SHARE:
            return None
        maker, reads, makes = self.graph.maker, self.graph.reads, self.graph.makes
        helpers = self.graph.behind([value for at in ops for value in reads[at]], free)
        inside = sorted(ops | helpers)
        share = sum(self.work[at] for at in inside) / whole
        made = {value for at in inside for value in makes[at]}
        inputs = tuple(dict.fromkeys(value for at in inside for value in reads[at] if value not in made))
        outside = set(range(len(self.ops))) - ops
        kept = outside - free | self.graph.behind([v for at in outside - free for v in reads[at]], free)
        asked = {value for at in kept for value in reads[at]}
        outputs = {at: [value for value in makes[at] if value in asked] for at in sorted(ops)}
        outputs = {at: values for at, values in outputs.items() if values}
        if sum(map(len, outputs.values())) > MOST_BORDER:
            raise RefusedAt({max(outputs): f"the part would return more than {MOST_BORDER} values"})
        lists = [at for at, values in outputs.items() if not all(self.is_tensor(value) for value in values)]
        if lists:
            raise RefusedAt(dict.fromkeys(lists, "a list of values would leave the part"))
        net = read_part(
            self.model,
            inside,
            [self.values[value] for value in inputs],
            {at: [self.values[value] for value in values] for at, values in outputs.items()},
        )
        flat = tuple(value for values in outputs.values() for value in values)
        around = {maker[value] for value in inputs} | {at for at in outside if set(reads[at]) & set(flat)}
        return Part(frozenset(ops), tuple(inside), inputs, flat, net, share, self._reasons(around))

    def is_tensor(self, number: int) -> bool:
        value = self.values[number]
        return exists(value) and bool(value.is_dense_tensor_type())

    def _reasons(self, around: Iterable[int]) -> dict[str, str]:
        return {kind_of(self.ops[at]): self.foreign[at] for at in sorted(around) if self.foreign.get(at)}
