# SPDX-License-Identifier: Apache-2.0
"""Models with rare tensors and structures: everything that writes them gives what their real reader opens."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import pytest
from nets import Net
from odd_models import ODD, odd_net

from paddle_unstructured import UnstructuredPruner
from paddle_unstructured.export.export_program import export
from paddle_unstructured.export.export_saved import export_model
from paddle_unstructured.runtime import convert
from paddle_unstructured.saved_model import open_model

pytestmark = pytest.mark.usefixtures("static")
X = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")


def by_paddle(path: str, x: np.ndarray = X) -> list[np.ndarray]:
    """What Paddle's own Predictor returns, as anyone would create it."""
    config = paddle.inference.Config(path + ".json", path + ".pdiparams")
    config.disable_glog_info()
    predictor = paddle.inference.create_predictor(config)
    predictor.get_input_handle("x").copy_from_cpu(x)
    predictor.run()
    return [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]


def pruned(layers: Any) -> tuple[Net, Any]:
    net = odd_net(layers)
    pruner = UnstructuredPruner(net.program, ratio=0.5, scope=net.scope, place=paddle.CPUPlace())
    pruner.step()
    return net, pruner


@pytest.mark.parametrize("layers", ODD, ids=lambda layers: layers.__name__)
def test_a_pruned_export_is_what_paddle_reads(tmp_path, layers):
    net, pruner = pruned(layers)
    path = str(tmp_path / "model")
    export(net.program, [net.input], [net.output], path, pruner, net.exe)
    (ours,) = open_model(path).run(x=X)
    (theirs,) = by_paddle(path)
    assert ours.shape == theirs.shape and np.isfinite(ours).all()
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layers", ODD, ids=lambda layers: layers.__name__)
def test_what_accelerate_writes_can_be_read_again(tmp_path, layers):
    net, pruner = pruned(layers)
    path, fast = str(tmp_path / "model"), str(tmp_path / "fast")
    export(net.program, [net.input], [net.output], path, pruner, net.exe)
    convert(path, fast)  # or leave it with Paddle
    for expected, found in zip(open_model(path).run(x=X), open_model(fast).run(x=X)):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("layers", ODD[:4], ids=lambda layers: layers.__name__)
def test_int8_weights_are_what_paddle_reads(tmp_path, layers):
    net, pruner = pruned(layers)
    path, small = str(tmp_path / "model"), str(tmp_path / "int8")
    export(net.program, [net.input], [net.output], path, pruner, net.exe)
    export_model(path, small, to="int8")
    for ours, theirs in zip(open_model(small).run(x=X), by_paddle(small)):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)
