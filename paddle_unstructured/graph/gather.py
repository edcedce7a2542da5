# SPDX-License-Identifier: Apache-2.0
"""Accumulators in the Program: what criteria want to know of gradients, outputs and inputs, summed over batches."""

from __future__ import annotations

import re
import weakref
from typing import TYPE_CHECKING, Any, Mapping, Sequence

import paddle
from paddle.base.libpaddle.pir import reset_insertion_point_to_end

from .base import WEIGHT_ROLES, Param
from .in_place import add_
from .program import PirGraph
from .roles import slots, writes

if TYPE_CHECKING:
    from ..criteria import Watching

_FOLLOWED = {"pd_op.cast", "pd_op.scale", "pd_op.dropout"}  # and norms, and the addition of a bias
ACTIVATIONS = {
    "pd_op." + name
    for name in (
        "relu",
        "relu_",
        "relu6",
        "leaky_relu",
        "hardswish",
        "swish",
        "silu",
        "sigmoid",
        "hardsigmoid",
        "tanh",
        "gelu",
        "elu",
        "prelu",
    )
}
_CONVOLUTIONS = tuple(role for role in WEIGHT_ROLES if "conv" in role)

# How often accumulators were attached to a Program, by whatever pruner.
_turns: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()


def is_gathered(name: str) -> bool:
    """Whether a variable is an accumulator of ours: each rank of a job has its own."""
    return re.search(r"_gathered_\d+$", name) is not None


class Gathering:
    """One accumulator for each param, `<param>_gathered`; `criterion.observe` says what a batch adds to it.

    Args:
        graph: graph of the training Program.
        params: params that are watched.
        criterion: what says which of gradients, outputs and inputs is watched, and what a batch adds.
    """

    def __init__(self, graph: PirGraph, params: Sequence[Param], criterion: Watching) -> None:
        self._graph, self._params, self._criterion = graph, list(params), criterion
        self._added: list[Any] = []
        self._turn = 0
        self._batches = 0  # that the accumulators hold
        if criterion.source == "gradient":
            self._has_gradients()
        else:
            for param in self._params:
                self._activation(param)  # refuses what cannot be watched

    @property
    def names(self) -> list[str]:
        """Of the accumulators. They have new names each time they are attached: Paddle keeps what it has compiled for
        a Program that looks the same, and would find variables there that are gone."""
        return [f"{param.name}_gathered_{self._turn}" for param in self._params]

    def name_for(self, param: Param) -> str | None:
        """Name of the param's accumulator; None if it is not watched."""
        return dict(zip((p.name for p in self._params), self.names)).get(param.name)

    @property
    def attached(self) -> bool:
        return bool(self._added)

    @property
    def can_attach(self) -> bool:
        """Whether the Program has what is to be gathered."""
        return self._criterion.source != "gradient" or self._has_gradients()

    @property
    def is_full(self) -> bool:
        """Whether the accumulators hold as many batches as the criterion wants."""
        return self._batches >= self.needs

    def state(self) -> dict[str, Any]:
        """What has been gathered: {"batches": int, "sums": {param name: array}}; nothing while it is not attached."""
        if not self.attached:
            return {}
        return {
            "batches": self._batches,
            "sums": {p.name: self._graph.stored(name) for p, name in zip(self._params, self.names)},
        }

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise ValueError unless `restore` can go on from the state."""
        wanted = {p.name: tuple(self._criterion.observed_shape(p)) for p in self._params}
        if state and {name: tuple(array.shape) for name, array in state["sums"].items()} != wanted:
            raise ValueError(
                f"the state has gathered sums for {', '.join(state['sums'])} that are not those of "
                f"{self._criterion!r}; make the pruner with the criterion it was saved with."
            )
        if state:
            self.check_gradients()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        if self.attached:
            self.release()
        if state:
            self.attach()
            for param, name in zip(self._params, self.names):
                self._graph.store(name, state["sums"][param.name])
            self._batches = int(state["batches"])

    def count(self) -> None:
        """Count one batch, if it was gathered."""
        self._batches += self.attached

    def start_over(self) -> None:
        """The accumulators were set to zero."""
        self._batches = 0

    @property
    def needs(self) -> int:
        """Batches that the criterion wants to see."""
        return int(self._criterion.batches)

    def check_gradients(self) -> None:
        """Raise ValueError if the Program never computes what is to be gathered."""
        if not self.can_attach:
            raise ValueError(
                f"{self._criterion!r} needs gradients, and no optimizer updates {self._params[0].name}; "
                "call minimize() first, or take a criterion that looks at weights only."
            )

    def attach(self) -> None:
        """Put the accumulators into the Program."""
        _turns[self._graph.program] = self._turn = _turns.get(self._graph.program, 0) + 1
        block, start = self._graph.program.global_block(), paddle.static.Program()
        before = {op.id() for op in block.ops}
        with paddle.static.program_guard(self._graph.program, start):
            for param, name in zip(self._params, self.names):
                self._accumulate(param, name)
        reset_insertion_point_to_end()
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
        missing = [param.name for param in self._params if self._optimizer_op(param) is None]
        if missing and len(missing) < len(self._params):
            raise ValueError(
                f"the optimizer updates no {', '.join(missing)}, so there is no gradient to score it by; "
                "leave it out with `select`."
            )
        return not missing

    def _accumulate(self, param: Param, name: str) -> None:
        value = self._graph.persistable(param.name)
        sum_so_far = paddle.pir.core.create_persistable_value(
            dtype=value.dtype,
            shape=list(self._criterion.observed_shape(param)),
            name=name,
            initializer=paddle.nn.initializer.Constant(0.0),
        )
        if self._criterion.source == "gradient":
            op = self._optimizer_op(param)
            paddle.pir.set_insertion_point(op)  # before the weight moves
            seen, axis = op.operand_source(op.get_input_names().index("grad")), -1
        else:
            seen, axis = self._activation(param)
            reset_insertion_point_to_end()
        stop_gradient = value.stop_gradient
        add_(sum_so_far, self._criterion.observe(value, seen, axis).cast(value.dtype))
        value.stop_gradient = stop_gradient

    def _optimizer_op(self, param: Param) -> Any:
        value = self._graph.persistable(param.name)
        return next((op for op in value.all_used_ops() if writes(op, value) and "grad" in slots(op)), None)

    def _activation(self, param: Param) -> tuple[Any, int]:
        """The layer's input or output, as the criterion wants it; and the axis of its channels."""
        reader = self._graph.reader(param)
        if self._graph.is_inner(reader):
            raise ValueError(
                f"{self._criterion!r} cannot watch {param.name}, which is read inside a branch or a loop; "
                "leave it out with `select`."
            )
        return self._input(param, reader) if self._criterion.source == "input" else self._output(param, reader)

    def _input(self, param: Param, reader: Any) -> tuple[Any, int]:
        """What the layer reads; and the axis of its channels."""
        value = reader.operand_source(0)
        axis = _channels(reader, param, value)
        known = param.role in ("linear", *_CONVOLUTIONS) and not reader.attrs().get("transpose_x", False)
        if not known or self._graph.is_made_of_params(value) or value.shape[axis] != param.inputs or not param.inputs:
            raise ValueError(
                f"{self._criterion!r} cannot watch {param.name}: what {param.reader} multiplies shape "
                f"{list(param.shape)} with is not followed; leave it out with `select`."
            )
        return value, axis

    def _output(self, param: Param, reader: Any) -> tuple[Any, int]:
        """What the layer gives, behind its bias, norm and activation; and the axis of its channels."""
        value = reader.result(0)
        axis = _channels(reader, param, value)
        if param.output_axis is None or value.shape[axis] != param.shape[param.output_axis]:
            raise ValueError(
                f"{self._criterion!r} cannot watch {param.name}: it gives {value.shape[axis]} channels "
                f"on axis {axis}, and shape {list(param.shape)} does not; leave it out with `select`."
            )
        while True:
            following = [op for op in value.all_used_ops() if "_grad" not in op.name()]
            step = next((op for op in following if self._follows(op, value)), None)
            if step is None:
                return value, axis
            value = step.result(0)
            if step.name() in ACTIVATIONS:
                return value, axis

    def _follows(self, op: Any, value: Any) -> bool:
        """Whether the op is still part of the layer: a bias, a norm, dropout, or the activation."""
        if not op.operand_source(0).is_same(value):
            return False
        if op.name() in ("pd_op.add", "pd_op.add_"):
            return self._graph.is_made_of_params(op.operand_source(1))
        return op.name() in _FOLLOWED | ACTIVATIONS or "norm" in op.name()


def _channels(reader: Any, param: Param, value: Any) -> int:
    """The axis of the channels of an op's input or output."""
    channels_first = param.role in _CONVOLUTIONS and not reader.attrs().get("data_format", "NCHW").endswith("C")
    return 1 if channels_first else len(value.shape) - 1
