# SPDX-License-Identifier: Apache-2.0
"""The parts of a Program that the runtime takes, where it does not take it whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Iterable, Mapping, Sequence

import numpy as np
import paddle

from ..graph.values import exists
from ..saved_model import Model
from .engine import Engine
from .net import Net
from .op_graph import OpGraph, convex_parts
from .read_parts import RefusedAt, read_part, survey
from .refusals import kind_of, multiply_adds
from .trial import are_close
from .write_plan import emit

LEAST_SHARE = 0.005  # of the multiply-adds: below, handing tensors over costs more than it gains
MOST_BORDER = 32  # outputs of one operator


@dataclass(frozen=True)
class Part:
    """Some ops of a Program that are one operator.

    Attributes:
        ops: places of the ops in the block.
        inputs: numbers of the values that it reads, as the file numbers them.
        outputs: numbers of the values that it makes.
        net: what it computes.
        share: fraction of the Program's multiply-adds, in [0, 1].
        ends: op behind it or before it -> why that is not in it.
    """

    ops: frozenset[int]
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

    def __post_init__(self) -> None:
        self.ops = list(self.model.program.global_block().ops)
        self.values = {
            number: op.result(i) for op, made in zip(self.ops, self.graph.makes) for i, number in enumerate(made)
        }
        self.work = [multiply_adds(op) for op in self.ops]

    def find(self) -> list[Part]:
        """The parts, in the order of their first ops."""
        while True:
            found = survey(self.model, self.foreign)
            self.foreign = found.foreign
            rest = set(range(len(self.ops))) - found.activations - set(found.foreign)
            free = {at for at in rest if self.ops[at].name() not in ("pd_op.data", "pd_op.fetch")}
            free |= {at for at in rest if self.ops[at].name() == "pd_op.data" and self.ops[at].result(0).persistable}
            ours = {at for at in found.activations if self.ops[at].name() not in ("pd_op.data", "builtin.combine")}
            free |= {at for at in found.activations if self.ops[at].name() == "builtin.combine"}
            try:
                return [
                    part for ops in convex_parts(self.graph, ours, free) if (part := self._part(ops, free)) is not None
                ]
            except RefusedAt as refusal:
                self.foreign[refusal.at] = str(refusal)

    def leave_out(self, part: Part, why: str) -> None:
        """Make a part's ops foreign."""
        self.foreign.update(dict.fromkeys(part.ops, why))

    def _part(self, ops: set[int], free: set[int]) -> Part | None:
        """None if it is not worth an operator."""
        share = sum(self.work[at] for at in ops) / max(1, sum(self.work))
        if share < LEAST_SHARE:
            return None
        maker, reads, makes = self.graph.maker, self.graph.reads, self.graph.makes
        helpers = self.graph.behind([value for at in ops for value in reads[at]], free)
        inside = sorted(ops | helpers)
        made = {value for at in inside for value in makes[at]}
        inputs = tuple(dict.fromkeys(value for at in inside for value in reads[at] if value not in made))
        outside = set(range(len(self.ops))) - ops
        kept = outside - free | self.graph.behind([v for at in outside - free for v in reads[at]], free)
        asked = {value for at in kept for value in reads[at]}
        outputs = {at: [value for value in makes[at] if value in asked] for at in sorted(ops)}
        outputs = {at: values for at, values in outputs.items() if values}
        if sum(map(len, outputs.values())) > MOST_BORDER:
            raise RefusedAt(max(outputs), f"the part would return more than {MOST_BORDER} values")
        lists = [at for at, values in outputs.items() if not all(self._is_tensor(value) for value in values)]
        if lists:
            raise RefusedAt(lists[0], "a list of values would leave the part")
        net = read_part(
            self.model,
            inside,
            [self.values[value] for value in inputs],
            {at: [self.values[value] for value in values] for at, values in outputs.items()},
        )
        flat = tuple(value for values in outputs.values() for value in values)
        around = {maker[value] for value in inputs} | {at for at in outside if set(reads[at]) & set(flat)}
        return Part(frozenset(ops), inputs, flat, net, share, self._reasons(around))

    def _is_tensor(self, number: int) -> bool:
        value = self.values[number]
        return exists(value) and bool(value.is_dense_tensor_type())

    def _reasons(self, around: Iterable[int]) -> dict[str, str]:
        return {kind_of(self.ops[at]): self.foreign[at] for at in sorted(around) if self.foreign.get(at)}

    # ---- trying parts ------------------------------------------------------------------------------------------------
    def tried(self, parts: Sequence[Part], feeds: Mapping[str, np.ndarray]) -> list[Part]:
        """Those parts that return what Paddle's ops return."""
        numbers = sorted({value for part in parts for value in (*part.inputs, *part.outputs)})
        [seen] = self.run(numbers, [feeds])
        return [part for part in parts if self._agrees(part, seen)]

    def run(self, numbers: Sequence[int], batches: Sequence[Mapping[str, np.ndarray]]) -> list[dict[int, np.ndarray]]:
        """What Paddle computes under some numbers of values, for each batch."""
        mapping = paddle.pir.IrMapping()
        program = self.model.program.clone(mapping)  # a Program keeps what it is asked to fetch
        for op in list(program.global_block().ops):
            if op.name() == "pd_op.fetch":
                program.global_block().remove_op(op)
        wanted = [mapping.look_up(self.values[number]) for number in numbers]
        executor, found = paddle.static.Executor(self.model.place), []
        for feeds in batches:
            arrays = executor.run(program, feed=dict(feeds), fetch_list=wanted, scope=self.model.scope)
            found.append(dict(zip(numbers, map(np.asarray, arrays))))
        return found

    def _agrees(self, part: Part, seen: Mapping[int, np.ndarray]) -> bool:
        try:
            writer, _ = emit(part.net)
            found = Engine(writer.text, writer.arrays).run(*[seen[value] for value in part.inputs])
        except Exception as error:  # a fault of ours, which shall not cost the model
            self.leave_out(part, f"the part does not run ({error})")
            return False
        if all(are_close(one, seen[value]) for value, one in zip(part.outputs, found)):
            return True
        self.leave_out(part, "the part does not compute what Paddle computes")
        return False
