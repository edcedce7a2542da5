# SPDX-License-Identifier: Apache-2.0
"""The operator in Paddle: registered once per process, put into Programs."""

from __future__ import annotations

import functools
import logging
from typing import Any, Sequence

import numpy as np
import paddle

from ..saved_model import Model, save_model
from .build import BuildError, operator_library
from .engine import Engine
from .write_program import write_program

NAME = "paddle_unstructured_run"  # and the number of outputs
MOST_OUTPUTS = 32
_log = logging.getLogger(__name__)


@functools.cache
def register() -> None:
    """Make the operator known to Paddle, compiling it if need be. Any later call does nothing.

    Raises:
        BuildError: It must be compiled and cannot be.
    """
    paddle.base.core.load_op_meta_info_and_register_op(str(operator_library()))


def save_as_operator(plan: str, arrays: Sequence[np.ndarray], like: Model, path: str) -> None:
    """Write a model that is nothing but this operator, also where the operator cannot be compiled.

    Args:
        plan: what the operator runs.
        arrays: its parameters.
        like: the model whose feed it takes and whose fetches it returns.
        path: prefix of the two files.
    """
    try:
        model = build_program(plan, arrays, like)
    except BuildError as error:
        _log.warning("the model is written for Session, and not opened by Paddle: %s", error)
        write_program(f"{NAME}{len(like.fetches)}", plan, _names(arrays), arrays, like, path)
    else:
        save_model(model, path)


def build_program(plan: str, arrays: Sequence[np.ndarray], like: Model) -> Model:
    """A Program that is nothing but this operator, with the inputs and outputs of another model.

    Args:
        plan: What the operator runs.
        arrays: Its parameters.
        like: The model whose feed it takes and whose fetches it returns.

    Raises:
        ValueError: The engine does not take the plan with these parameters; Paddle would only say "std::exception", or
            abort the process.
        BuildError: The operator must be compiled and cannot be.
    """
    register()
    Engine(plan, arrays)
    program, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    with paddle.static.program_guard(program, startup), paddle.static.scope_guard(scope):
        inputs = [paddle.static.data(name, list(x.shape), x.dtype) for name, x in like.inputs.items()]
        params = [_parameter(name, array) for name, array in zip(_names(arrays), arrays)]
        outputs = paddle._C_ops._run_custom_op(f"{NAME}{len(like.fetches)}", inputs, params, plan, 0)
        paddle.static.Executor(paddle.CPUPlace()).run(startup)
        for name, array in zip(_names(arrays), arrays):
            scope.find_var(name).get_tensor().set(np.ascontiguousarray(array), paddle.CPUPlace())
    fetches = tuple(outputs) if isinstance(outputs, (list, tuple)) else (outputs,)
    return Model(like.files, program, scope, paddle.CPUPlace(), like.feeds, fetches)


def _names(arrays: Sequence[np.ndarray]) -> list[str]:
    return [f"sparse_net.p_{i:04d}" for i in range(len(arrays))]


def _parameter(name: str, array: np.ndarray) -> Any:
    parameter = paddle.static.create_parameter(
        list(array.shape), str(array.dtype), name=name, default_initializer=paddle.nn.initializer.Constant(0)
    )
    parameter.stop_gradient = True
    return parameter
