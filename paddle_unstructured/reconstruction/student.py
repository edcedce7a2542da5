# SPDX-License-Identifier: Apache-2.0
"""A pruned model that learns from the dense one: how far apart the two are, and along what they come nearer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
import paddle
from paddle.base.libpaddle import pir

from ..graph import PirGraph, open_graph
from ..graph.testing import test_program
from ..graph.values import forward_uses, kind_of
from ..saved_model import Model
from .ends import End, ends_of, gradients
from .layers import SolvableLayer, solvable
from .planes import pairs, to_products
from .samples import Feed, count_of, portions, rows_within, taken
from .segments import GIVEN
from .spill import trim
from .worth import ROOM

_NORMS = {"batch_norm", "sync_batch_norm", "layer_norm", "group_norm", "instance_norm"}


class Unable(Exception):
    """Paddle cannot make or run the net with its gradient."""


@dataclass(frozen=True)
class Student:
    """The pruned model with its loss, and the dense one that says what its values should be.

    Attributes:
        names: params that have a gradient.
    """

    model: Model
    dense: Any
    teacher: Any
    values: Sequence[Any]  # of the teacher
    program: Any
    fetches: Sequence[Any]  # how far answers are apart, then gradients
    names: Sequence[str]
    tables: Mapping[str, np.ndarray]
    executor: Any

    @classmethod
    def of(cls, model: Model, dense: Any, names: Sequence[str]) -> Student:
        """Of a model and a scope with the dense weights; `names` are the params to learn.

        Raises:
            Unable: The net has no gradient.
        """
        program, outputs = test_program(model.program, list(model.fetches))
        graph = open_graph(program, model.scope, model.place)
        inside = _of_layers(graph, names)
        tables = to_products(graph, keep=outputs)
        learned = [graph.persistable(name) for name in names]
        ends = ends_of(program, learned, outputs)
        if not ends:
            raise Unable("its outputs do not depend smoothly on any weight")
        answers = {end.value.id for end in ends}
        inside = [End(v, None) for v in inside if not v.stop_gradient and v.id not in answers]
        teacher, values = test_program(program, [end.value for end in (*ends, *inside)])
        try:
            with paddle.static.program_guard(program):
                pir.reset_insertion_point_to_end()
                none, one = paddle.zeros([], "float32"), paddle.ones([], "float32")
                apart = [_apart(end, _given(i, end.value)) for i, end in enumerate((*ends, *inside))]
                judged = sum(apart[: len(ends)], start=none)
                # A layer that is further off than its size, such as one that never fires, is no help.
                helping = [paddle.minimum(each, one) for each in apart[len(ends) :]]
                found = gradients([judged + sum(helping, start=none) / max(len(inside), 1)], learned)
        except Exception as error:
            raise Unable(error) from error
        known = {name: gradient for name, gradient in zip(names, found) if gradient is not None}
        executor = paddle.static.Executor(model.place)
        return cls(model, dense, teacher, values, program, [judged, *known.values()], list(known), tables, executor)

    def losses(self, feeds: Sequence[Feed]) -> np.ndarray:
        """How far the answers to each feed are from those of the dense net."""
        return np.array([self._mean(feed) for feed in feeds])

    def _mean(self, feed: Feed) -> float:
        runs = self._runs(feed, self.fetches[:1])
        return sum(count * float(found[0]) for count, found in runs) / count_of(feed)

    def gradients(self, feed: Feed) -> list[np.ndarray]:
        """Of the mean loss of some samples."""
        total: list[np.ndarray] = []
        for count, found in self._runs(feed, self.fetches):
            shares = [np.float32(count / count_of(feed)) * np.asarray(one) for one in found[1:]]
            total = [a + b for a, b in zip(total, shares)] if total else shares
        return total

    def _runs(self, feed: Feed, fetches: Sequence[Any]) -> Iterator[tuple[int, list[np.ndarray]]]:
        """Samples of each portion, and what is fetched of it."""
        rows = rows_within(self.model, [feed], ROOM, sum)
        for part in portions(self.model, [feed], rows):
            yield count_of(part), self._run(part, fetches)
            if rows < count_of(feed):  # freed memory of a small net is better kept: half of a step goes into new pages
                trim()

    def _run(self, feed: Feed, fetches: Sequence[Any]) -> list[np.ndarray]:
        given = {**feed, **self.tables}
        try:
            wanted = self.executor.run(
                self.teacher, feed=taken(self.teacher, given), fetch_list=list(self.values), scope=self.dense
            )
            given.update({_name(i): array for i, array in enumerate(wanted)})
            found: list[np.ndarray] = self.executor.run(
                self.program, feed=given, fetch_list=list(fetches), scope=self.model.scope
            )
        except Exception as error:
            raise Unable(error) from error
        return found


def _of_layers(graph: PirGraph, names: Sequence[str]) -> list[Any]:
    """What layers give whose weights are learned, behind the norm that follows."""
    found = []
    for param in graph.params():
        layer = solvable(graph, param, shared=True) if param.name in names else ""
        for one in (layer, *layer.also) if isinstance(layer, SolvableLayer) else ():
            uses = forward_uses(one.op.result(0))
            if len(uses) == 1 and kind_of(uses[0]) in _NORMS:
                found.append(uses[0].result(0))
            elif pairs(one) is None:
                found.append(one.op.result(0))
    return found


def _name(index: int) -> str:
    """Of the input that brings what a value of the dense net is."""
    return f"{GIVEN}{index}"


def _given(index: int, value: Any) -> Any:
    return paddle.static.data(_name(index), list(value.shape), value.dtype)


def _apart(end: End, wanted: Any) -> Any:
    """How far a value is from what it should be."""
    answer, wanted = end.value.astype("float32"), wanted.astype("float32")
    apart = paddle.square(answer - wanted).mean() / (paddle.square(wanted).mean() + 1e-12)
    if end.axis is None:
        return apart
    log, of = (paddle.nn.functional.log_softmax(z, end.axis) for z in (answer, wanted))
    return apart + (paddle.exp(of) * (of - log)).sum(end.axis).mean()
