# SPDX-License-Identifier: Apache-2.0
"""A Program in pieces: activations are carried from cut to cut, so that no layer is computed twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
import paddle
from paddle.base.libpaddle import pir

from ..graph.program import persistable_data
from ..graph.splice import clone_op, is_input, is_variable, variable_name
from ..graph.values import exists

Live = dict[str, np.ndarray]  # value id -> array: what is known of one batch at a cut
# How the names of all inputs begin that are not the model's own: Paddle leaves what they last were in the scope.
GIVEN = "paddle_unstructured_given_"


@dataclass
class Pieces:
    """An inference Program, cut where it is asked.

    Args:
        program: the Program; it is only read.
        place: the device that runs the pieces.
    """

    program: Any
    place: Any
    _ops: list[Any] = field(init=False)
    _last: dict[str, int] = field(init=False)  # value id -> index of the last op that reads it
    _at: dict[str, int] = field(init=False)  # value id -> index of the op that makes it
    _fixed: set[str] = field(init=False)  # values that no input reaches, and lists: made again where they are read

    def __post_init__(self) -> None:
        self._ops = list(self.program.global_block().ops)
        self._last, self._at, self._fixed = {}, {}, set()
        constant: set[str] = set()
        for i, op in enumerate(self._ops):
            sources = list(_read(op))
            for value in sources:
                self._last[value.id] = i
            for value in op.results():
                self._at[value.id] = -1 if is_input(op) else i
            made = {value.id for value in op.results()}
            if not is_input(op) and all(value.id in constant for value in sources):
                constant |= made
            lists = any(exists(value) and not value.is_dense_tensor_type() for value in op.results())
            if made <= constant or lists:
                self._fixed |= made

    def index(self, op: Any) -> int:
        """Where an op stands."""
        return next(i for i, other in enumerate(self._ops) if other.id() == op.id())

    @property
    def end(self) -> int:
        return len(self._ops)

    def start(self, feeds: Mapping[str, np.ndarray]) -> Live:
        """What is known of a batch at the beginning."""
        return {op.result(0).id: feeds[op.attrs()["name"]] for op in self._ops if is_input(op)}

    def live(self, cut: int, extra: Sequence[Any] = ()) -> list[Any]:
        """The values that are known at a cut and read behind it."""
        found = {}
        for i, op in enumerate(self._ops):
            for value in op.results() if i < cut or is_input(op) else ():
                if value.id not in self._fixed and self._last.get(value.id, -1) >= cut:
                    found[value.id] = value
        found.update({value.id: value for value in extra})
        # A list that is made again wants its members.
        for op in self._ops[cut:]:
            for value in _read(op):
                for member in self._wanted(value, cut):
                    found[member.id] = member
        return list(found.values())

    def _wanted(self, value: Any, cut: int) -> Iterator[Any]:
        """What has to be carried for a value that is read behind the cut."""
        if self._at.get(value.id, cut) >= cut:
            return
        if value.id not in self._fixed:
            yield value
            return
        for source in _read(value.get_defining_op()):
            yield from self._wanted(source, cut)

    def between(self, start: int, stop: int) -> Piece:
        """The ops from one cut to another, as a Program of their own."""
        given, made = self.live(start), self.live(stop)
        program, mapping, feeds = paddle.static.Program(), pir.IrMapping(), {}
        done: set[str] = set()
        with paddle.static.program_guard(program):
            for i, value in enumerate(given):
                name = f"{GIVEN}{i}"  # the same ones in each piece, so that the next one's take their place
                mapping.add(value, paddle.static.data(name, list(value.shape), value.dtype))
                feeds[value.id] = name
                done.add(value.id)

            def make(op: Any) -> None:
                for source in _read(op):
                    if source.id not in done:
                        make(source.get_defining_op())
                if is_variable(op):
                    mapping.add(op.result(0), persistable_data(variable_name(op), op.result(0)))
                else:
                    clone_op(op, mapping)
                done.update(value.id for value in op.results())

            for op in self._ops[start:stop]:
                if op.name() != "pd_op.fetch" and not is_input(op) and not all(v.id in done for v in op.results()):
                    if any(v.id not in self._fixed for v in op.results()):
                        make(op)
            kept = [value for value in made if value.id in done]
            fetches = [mapping.look_up(value) for value in kept]
        return Piece(program, feeds, [value.id for value in kept], fetches, paddle.static.Executor(self.place))


@dataclass(frozen=True)
class Piece:
    """A part of a Program: carries a batch from one cut to the next."""

    program: Any
    feeds: Mapping[str, str]
    results: Sequence[str]
    fetches: Sequence[Any]
    executor: Any  # keeps the compiled piece from batch to batch

    def run(self, live: Live, scope: Any) -> Live:
        """What is known behind the piece, with the weights of a scope."""
        feed = {name: live[value] for value, name in self.feeds.items()}
        new = [value for value in self.results if value not in self.feeds]
        if not new:
            return {value: live[value] for value in self.results}
        wanted = [fetch for value, fetch in zip(self.results, self.fetches) if value not in self.feeds]
        got = self.executor.run(self.program, feed=feed, fetch_list=wanted, scope=scope)
        made = dict(zip(new, got))
        return {value: made[value] if value in made else live[value] for value in self.results}


def _read(op: Any) -> Iterator[Any]:
    """What an op reads, in its blocks too."""
    yield from (value for value in op.operands_source() if exists(value))
    for block in op.blocks():
        inside = {value.id for inner in block.ops for value in inner.results()} | {value.id for value in block.args()}
        for inner in block.ops:
            yield from (value for value in _read(inner) if value.id not in inside)


def forget_given(scope: Any) -> None:
    """Take out of a scope what pieces were given; those that ran in it may not run again."""
    scope.erase([name for name in scope.local_var_names() if name.startswith(GIVEN)])
