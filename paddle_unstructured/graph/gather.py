"""Accumulators in the training Program: what criteria want to know of gradients and outputs, summed up batch by batch."""
from __future__ import annotations

from typing import Any, Sequence

import paddle
from paddle.base.libpaddle.pir import reset_insertion_point_to_end

from .base import Param
from .pir import PirGraph
from .roles import writes

_FOLLOWED = {"pd_op.add", "pd_op.add_", "pd_op.batch_norm_", "pd_op.batch_norm", "pd_op.cast", "pd_op.scale"}
_ACTIVATIONS = {"pd_op." + name for name in ("relu", "relu_", "relu6", "leaky_relu", "hardswish", "swish", "silu",
                                             "sigmoid", "hardsigmoid", "tanh", "gelu", "elu", "prelu")}


class Gathering:
    """One accumulator for each param, `<param>_gathered`; `criterion.observe` says what a batch adds to it.

    Args:
        graph: Of the training Program.
        params: Whose.
        criterion: With `source`, `observe` and `observed_shape`.
    """

    def __init__(self, graph: PirGraph, params: Sequence[Param], criterion: Any) -> None:
        self._graph, self._params, self._criterion = graph, list(params), criterion
        self._added: list[Any] = []
        self.batches = 0  # that the accumulators hold

    @property
    def names(self) -> list[str]:
        return [param.gathered_name for param in self._params]

    def count(self) -> bool:
        """Count one batch; whether there are enough. The first call attaches what is not attached yet."""
        if not self.attached:
            self.attach()
            return False
        self.batches += 1
        return self.batches >= self._criterion.batches

    @property
    def attached(self) -> bool:
        return bool(self._added)

    def attach(self) -> None:
        """Put the accumulators into the Program, as soon as it has what is to be gathered."""
        if self.attached or (self._criterion.source == "gradient" and not self._has_gradients()):
            return
        block, start = self._graph.program.global_block(), paddle.static.Program()
        before = {op.id() for op in block.ops}
        with paddle.static.program_guard(self._graph.program, start):
            for param in self._params:
                self._accumulate(param)
        reset_insertion_point_to_end()
        self._added = [op for op in block.ops if op.id() not in before]
        paddle.static.Executor(self._graph.place).run(start, scope=self._graph.scope)

    def release(self) -> None:
        """Take the accumulators out of the Program and of the scope."""
        block = self._graph.program.global_block()
        for op in reversed(self._added):
            block.remove_op(op)
        self._graph.scope.erase(self.names)
        self._added = []

    def _has_gradients(self) -> bool:
        missing = [param.name for param in self._params if self._optimizer_op(param) is None]
        if missing and len(missing) < len(self._params):
            raise ValueError(f"the optimizer updates no {', '.join(missing)}, so there is no gradient to score it by; "
                             "leave it out with `select`.")
        return not missing

    def _accumulate(self, param: Param) -> None:
        value = self._graph.persistable(param.name)
        sum_so_far = paddle.pir.core.create_persistable_value(
            dtype=value.dtype, shape=list(self._criterion.observed_shape(param)), name=param.gathered_name,
            initializer=paddle.nn.initializer.Constant(0.0))
        if self._criterion.source == "gradient":
            op = self._optimizer_op(param)
            paddle.pir.set_insertion_point(op)  # before the weight moves
            seen, axis = op.operand_source(1), -1
        else:
            seen, axis = self._output(param)
            reset_insertion_point_to_end()
        stop_gradient = value.stop_gradient
        paddle._C_ops.add_(sum_so_far, self._criterion.observe(value, seen, axis).cast(value.dtype))
        value.stop_gradient = stop_gradient

    def _optimizer_op(self, param: Param) -> Any:
        value = self._graph.persistable(param.name)
        return next((op for op in value.all_used_ops() if writes(op, value) and op.num_operands() > 2
                     and op.get_input_names()[1] == "grad"), None)

    def _output(self, param: Param) -> tuple[Any, int]:
        """What the layer gives, behind its bias, norm and activation; and the axis of its channels."""
        reader = self._graph.reader(param)
        value, is_conv = reader.result(0), param.role.startswith(("conv", "depthwise"))
        while True:
            following = [op for op in value.all_used_ops() if "_grad" not in op.name()]
            step = next((op for op in following if op.name() in _FOLLOWED | _ACTIVATIONS), None)
            if step is None or step.operand_source(0).is_same(value) is False:
                break
            value = step.result(0)
            if step.name() in _ACTIVATIONS:
                break
        last = len(value.shape) - 1
        channels_last = not is_conv or reader.attrs().get("data_format", "NCHW").endswith("C")
        return value, last if channels_last else 1
