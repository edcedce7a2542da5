# SPDX-License-Identifier: Apache-2.0
"""Trained nets to export, and a look at what was written."""

from __future__ import annotations

import os
from pathlib import Path

import paddle
import pytest
from nets import Net, masks_in, two_linears
from paddle import nn

from paddle_unstructured import (
    UnstructuredPruner,
)
from paddle_unstructured.export import export, open_model
from paddle_unstructured.saved_model import Model

WEIGHTS = ("linear_0.w_0", "linear_1.w_0")
PARAMS = {*WEIGHTS, "linear_0.b_0", "linear_1.b_0"}


def momentum():
    return paddle.optimizer.Momentum(0.1, 0.9)


def trained(steps: int = 2, optimizer=momentum, own_scope: bool = False, **kwargs) -> tuple[Net, UnstructuredPruner]:
    net = Net(two_linears, [3, 4], optimizer, own_scope=own_scope)
    pruner = UnstructuredPruner(net.program, scope=net.scope, **({"ratio": 0.5} | kwargs))
    net.train(pruner, steps)
    return net, pruner


def zeros(model: Model, *names: str) -> int:
    return sum(int((model.graph.array(name) == 0).sum()) for name in names)


def written(path: Path) -> Model:
    """The model at `path`, which is all that was written; no trace of training is in it."""
    assert sorted(os.listdir(path.parent)) == [path.name + ".json", path.name + ".pdiparams"]
    model = open_model(str(path))
    names = [op.name() for op in model.program.global_block().ops]
    assert not masks_in(model.program) and not any("_grad" in name or "momentum" in name for name in names)
    assert "callstack" not in Path(str(path) + ".json").read_text()
    return model


def refused(path: Path, message: str, *args, error=ValueError, **kwargs) -> None:
    """`export` refuses, and writes nothing."""
    with pytest.raises(error, match=message):
        export(*args[:3], str(path), *args[3:], **kwargs)
    assert not path.parent.exists() or not os.listdir(path.parent)


def normed(x):
    """Linear layer, batch norm over 3 features, dropout."""
    return nn.Dropout(0.5)(nn.BatchNorm1D(3)(nn.Linear(4, 3)(x)))


def opened(net: Net) -> Model:
    feeds, fetches = ("x",), (net.output,)
    return Model(None, net.program, net.scope, paddle.CPUPlace(), feeds, fetches)


def saved(path: Path, layers=two_linears, shape=(3, 4), *, seed=5, **kwargs) -> Net:
    """A net in a scope of its own, and its inference model at `path`."""
    net = Net(layers, list(shape), own_scope=True, seed=seed, **kwargs)
    with paddle.static.scope_guard(net.scope):
        paddle.static.save_inference_model(str(path), [net.input], [net.output], net.exe, program=net.program)
    return net


def checkpointed(path: Path) -> Net:
    """A net that was trained, and its checkpoint at `path`."""
    net = Net(two_linears, [3, 4], momentum, own_scope=True)
    net.run()
    with paddle.static.scope_guard(net.scope):
        paddle.static.save(net.program, str(path))
    return net
