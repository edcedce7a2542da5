# SPDX-License-Identifier: Apache-2.0
"""Accumulators in the training Program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Sequence

import paddle
from paddle.base.libpaddle.pir import reset_insertion_point_to_end

from .activations import activation
from .base import Param
from .gather import Gathering
from .in_place import add_
from .op_facts import taken, trainers
from .program import PirGraph
from .undo import all_or_nothing

if TYPE_CHECKING:
    from ..criteria import Watching


class ProgramGathering(Gathering):
    """`Gathering` in a static Program: ops before the optimizer's, or at the end."""

    _no_optimizer = "call minimize() first"

    def __init__(self, graph: PirGraph, params: Sequence[Param], criterion: Watching) -> None:
        super().__init__(graph, params, criterion)
        self._graph = graph
        self._added: list[Any] = []
        if criterion.source == "gradient":
            self._has_gradients()
        else:
            for param in self._params:
                activation(graph, param, criterion)  # refuses what cannot be watched

    @property
    def attached(self) -> bool:
        return bool(self._added)

    def attach(self) -> None:
        """Put the accumulators into the Program."""
        self._begin()
        block, start = self._graph.program.global_block(), paddle.static.Program()
        before = {op.id() for op in block.ops}
        with all_or_nothing(self._graph), paddle.static.program_guard(self._graph.program, start):
            for param, name in zip(self._params, self.names):
                self._accumulate(param, name)
        self._added = [op for op in block.ops if op.id() not in before]
        paddle.static.Executor(self._graph.place).run(start, scope=self._graph.scope)

    def release(self) -> None:
        """Take the accumulators out of the Program and of the scope."""
        block = self._graph.program.global_block()
        for op in reversed(self._added):
            block.remove_op(op)
        self._graph.scope.erase(self.names)
        self._added, self._batches = [], 0

    def _has_gradients(self) -> bool:
        return self._check_updated([param.name for param in self._params if self._optimizer_op(param) is None])

    def _accumulate(self, param: Param, name: str) -> None:
        value = self._graph.persistable(param.name)
        sum_so_far = paddle.pir.core.create_persistable_value(
            dtype=value.dtype,
            shape=self._observed_shape(param),
            name=name,
            initializer=paddle.nn.initializer.Constant(0.0),
        )
        if self._criterion.source == "gradient":
            op = self._optimizer_op(param)
            paddle.pir.set_insertion_point(op)  # before the weight moves
            seen, axis = dict(taken(op, value))["grad"], -1
        else:
            found = activation(self._graph, param, self._criterion)
            seen, axis = found.value, found.axis
            reset_insertion_point_to_end()
        stop_gradient = value.stop_gradient
        try:
            add_(sum_so_far, self._observed(param, value, seen, axis))
        finally:
            value.stop_gradient = stop_gradient

    def _optimizer_op(self, param: Param) -> Any:
        return next(iter(trainers(self._graph.persistable(param.name))), None)
