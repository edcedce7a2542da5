# SPDX-License-Identifier: Apache-2.0
"""From an nn.Layer to a converted model: the very file that a static Program gives for the same weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec

from paddle_unstructured import UnstructuredPruner
from paddle_unstructured.export import export
from paddle_unstructured.runtime import Int8, Session, convert

X = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype("float32")


def net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2D(3, 16, 3, padding=1),
        nn.BatchNorm2D(16),
        nn.ReLU(),
        nn.Conv2D(16, 8, 1),
        nn.Flatten(),
        nn.Linear(512, 5),
    )


def from_layer(path: Any) -> Any:
    paddle.seed(7)
    with paddle.utils.unique_name.guard():
        model = net()
    pruner = UnstructuredPruner(model, ratio=0.75)
    pruner.step()
    export(model, [InputSpec([None, 3, 8, 8], name="x")], path, pruner)
    return {tensor.name: tensor.numpy() for tensor in model.state_dict().values()}


def from_program(path: Any, weights: Any) -> None:
    program, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    exe = paddle.static.Executor(paddle.CPUPlace())
    with paddle.static.scope_guard(scope), paddle.utils.unique_name.guard():
        with paddle.static.program_guard(program, startup):
            x = paddle.static.data("x", [None, 3, 8, 8])
            output = net()(x)
        exe.run(startup)
        for name, values in weights.items():
            scope.find_var(name).get_tensor().set(values, paddle.CPUPlace())
        pruner = UnstructuredPruner(program, ratio=0.75)
        pruner.step()
        export(program, [x], [output], path, pruner, exe)


@pytest.mark.parametrize("int8", [False, True])
def test_both_graphs_give_the_same_fast_model_to_the_byte(tmp_path, int8):
    weights = from_layer(tmp_path / "layer")
    paddle.enable_static()
    try:
        from_program(tmp_path / "program", weights)
        for name in ("layer", "program"):
            convert(tmp_path / name, tmp_path / f"{name}_fast", int8=Int8(X) if int8 else None)
        answers = [Session(tmp_path / f"{name}_fast").run(X)[0] for name in ("layer", "program")]
    finally:
        paddle.disable_static()
    layer, program = ((tmp_path / f"{name}_fast.pdiparams").read_bytes() for name in ("layer", "program"))
    assert layer == program
    assert (answers[0] == answers[1]).all()
