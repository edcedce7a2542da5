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
from .views import OPEN
from .write_plan import emit

LEAST_SHARE = 0.005  # of the multiply-adds: below, handing tensors over costs more than it gains
MOST_BORDER = 32  # outputs of one operator
_AT_ONCE = 16  # ops whose results are compared with Paddle's in one run


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

    def __post_init__(self) -> None:
        self.ops = list(self.model.program.global_block().ops)
        self.values = {
            number: op.result(i) for op, made in zip(self.ops, self.graph.makes) for i, number in enumerate(made)
        }
        self.work = [multiply_adds(op) for op in self.ops]
        # Around branches and loops Paddle loses track of layouts: the ops there stay as they are in the dense net.
        branches = [at for at, op in enumerate(self.ops) if list(op.blocks())]
        self.odd.update(value for at in branches for value in self.graph.makes[at])
        maker = self.graph.maker
        self.before_branches = {maker[v] for at in branches for v in self.graph.reads[at] if v in maker}

    def find(self) -> list[Part]:
        """The parts, in the order of their first ops."""
        while True:
            found = survey(self.model, self.foreign, [self.values[value] for value in self.odd])
            self.foreign = found.foreign
            before = (found.activations & self.before_branches) - set(self.foreign)
            if before:
                self.foreign.update(dict.fromkeys(before, "it makes what a branch or a loop reads"))
                continue
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
        return Part(frozenset(ops), tuple(inside), inputs, flat, net, share, self._reasons(around))

    def _is_tensor(self, number: int) -> bool:
        value = self.values[number]
        return exists(value) and bool(value.is_dense_tensor_type())

    def _reasons(self, around: Iterable[int]) -> dict[str, str]:
        return {kind_of(self.ops[at]): self.foreign[at] for at in sorted(around) if self.foreign.get(at)}

    # ---- what Paddle computes ----------------------------------------------------------------------------------------
    def look(self, feeds: Mapping[str, np.ndarray]) -> bool:
        """Find values that are not ours and whose first axis is not the samples, on a few; whether there are new ones.

        Windows of samples, some of each, are no such values.
        """
        asked = [
            value
            for at in self.foreign
            for value in self.graph.makes[at]
            if value not in self.odd and self._is_tensor(value) and list(self.values[value].shape)[:1] in ([OPEN], [1])
        ]
        counts = {len(feeds[name]) for name, one in self.model.inputs.items() if list(one.shape)[:1] == [OPEN]}
        if not asked or len(counts) != 1:
            return False
        [seen] = self.run(asked, [feeds])
        [samples] = counts
        shared = {value for value in asked if list(self.values[value].shape)[0] == 1}  # so the Program says
        odd = {value for value in asked if (len(seen[value]) != 1 if value in shared else len(seen[value]) % samples)}
        if odd:
            self.odd |= odd
            self.foreign.clear()  # what was refused may have followed from these
        return bool(odd)

    # ---- trying parts ------------------------------------------------------------------------------------------------
    def tried(self, parts: Sequence[Part], feeds: Mapping[str, np.ndarray]) -> list[Part]:
        """The parts that return what Paddle's ops return; what is to blame in the others is noted as foreign."""
        numbers = sorted({value for part in parts for value in (*part.inputs, *part.outputs)})
        [seen] = self.run(numbers, [feeds])
        fitting = [part for part in parts if self._meets(part, seen, feeds)]
        return [part for part in fitting if self._agrees(part, seen, feeds)]

    def _meets(self, part: Part, seen: Mapping[int, np.ndarray], feeds: Mapping[str, np.ndarray]) -> bool:
        """Whether all inputs of a part have equally many samples; those that have others are none of a plan's."""
        open_ones = [value for value in part.inputs if list(self.values[value].shape)[:1] == [OPEN]]
        counts = {value: len(seen[value]) for value in open_ones}
        samples = {len(feeds[name]) for name, one in self.model.inputs.items() if list(one.shape)[:1] == [OPEN]}
        if len(set(counts.values())) <= 1:
            return True
        odd = {value for value, count in counts.items() if count not in samples}
        self.odd |= odd
        if not odd:
            self.leave_out(part, "what it reads has different numbers of samples")
        return False

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

    def _agrees(self, part: Part, seen: Mapping[int, np.ndarray], feeds: Mapping[str, np.ndarray]) -> bool:
        try:
            is_right = _computes(part.net, [seen[value] for value in part.inputs], [seen[v] for v in part.outputs])
            why = "does not compute what Paddle computes"
        except Exception as error:  # a fault of ours, which shall not cost the model
            is_right, why = False, f"does not run ({error})"
        if is_right:
            return True
        try:
            culprit = self._culprit(part, feeds)
        except Exception:  # of any kind that Paddle's C++ comes to Python with
            culprit = None
        if culprit is None:
            self.leave_out(part, f"the part {why}")
        else:
            self.foreign[culprit] = f"its layer {why}"
        return False

    def _culprit(self, part: Part, feeds: Mapping[str, np.ndarray]) -> int | None:
        """The first op of a part whose results are not Paddle's; None if each by itself is right."""
        changed = {
            self.graph.reads[at][0]
            for at, op in enumerate(self.ops)
            if op.name().endswith("_") and "batch_norm" not in op.name() and self.graph.reads[at]
        }
        read = {value for each in self.graph.reads for value in each} - changed
        makes = {at: [v for v in self.graph.makes[at] if self._is_tensor(v) and v in read] for at in part.ops}
        asked = {at: values for at, values in sorted(makes.items()) if values}
        [seen] = self.run(sorted({*part.inputs, *(v for values in asked.values() for v in values)}), [feeds])

        def is_right(some: Mapping[int, Sequence[int]]) -> bool:
            left = dict(some)
            while left:
                returned = {at: [self.values[value] for value in values] for at, values in left.items()}
                try:
                    net = read_part(self.model, part.inside, [self.values[value] for value in part.inputs], returned)
                    wanted = [seen[value] for values in left.values() for value in values]
                    return _computes(net, [seen[value] for value in part.inputs], wanted, repeat=True)
                except RefusedAt as refusal:  # no plan returns it
                    if left.pop(refusal.at, None) is None:
                        return True
                except Exception:
                    return False
            return True

        places = list(asked)
        for some in (places[i : i + _AT_ONCE] for i in range(0, len(places), _AT_ONCE)):
            if not is_right({at: asked[at] for at in some}):
                return next((at for at in some if not is_right({at: asked[at]})), None)
        return None


def _computes(net: Net, given: Sequence[np.ndarray], wanted: Sequence[np.ndarray], *, repeat: bool = False) -> bool:
    """Whether a net returns these numbers; with `repeat`, an axis of 1 may stand for one that repeats it."""
    writer, _ = emit(net)
    found: Sequence[np.ndarray] = Engine(writer.text, writer.arrays).run(*given)
    if repeat:
        found = [np.broadcast_to(one, want.shape) if one.ndim == want.ndim else one for one, want in zip(found, wanted)]
    return all(map(are_close, found, wanted))
