"""The operator in Paddle: registered once per process, put into Programs."""

from __future__ import annotations

import functools
from typing import Any, Sequence

import numpy as np
import paddle

from ..saved_model import Model
from .build import operator_library

NAME = "paddle_unstructured_net"  # and the number of outputs
MOST_OUTPUTS = 4


@functools.cache
def register() -> None:
    """Make the operator known to Paddle, compiling it if need be. Any later call does nothing.

    Raises:
        BuildError: It must be compiled and cannot be.
    """
    paddle.base.core.load_op_meta_info_and_register_op(str(operator_library()))


def build_program(plan: str, arrays: Sequence[np.ndarray], like: Model) -> Model:
    """A Program that is nothing but this operator, with the inputs and outputs of another model.

    Args:
        plan: What the operator runs.
        arrays: Its parameters.
        like: The model whose feed it takes and whose fetches it returns.
    """
    register()
    program, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    given = next(
        op
        for op in like.program.global_block().ops
        if op.name() == "pd_op.data" and op.attrs()["name"] == like.feeds[0]
    ).result(0)
    with paddle.static.program_guard(program, startup), paddle.static.scope_guard(scope):
        x = paddle.static.data(like.feeds[0], list(given.shape), "float32")
        params = [_parameter(f"sparse_net.p_{i:04d}", array) for i, array in enumerate(arrays)]
        outputs = paddle._C_ops._run_custom_op(f"{NAME}{len(like.fetches)}", x, params, plan, 0)
        paddle.static.Executor(paddle.CPUPlace()).run(startup)
        for i, array in enumerate(arrays):
            scope.find_var(f"sparse_net.p_{i:04d}").get_tensor().set(np.ascontiguousarray(array), paddle.CPUPlace())
    fetches = tuple(outputs) if isinstance(outputs, (list, tuple)) else (outputs,)
    return Model(like.files, program, scope, paddle.CPUPlace(), like.feeds, fetches)


def _parameter(name: str, array: np.ndarray) -> Any:
    parameter = paddle.static.create_parameter(
        list(array.shape), str(array.dtype), name=name, default_initializer=paddle.nn.initializer.Constant(0)
    )
    parameter.stop_gradient = True
    return parameter
