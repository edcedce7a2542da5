# SPDX-License-Identifier: Apache-2.0
"""The model of a Layer has the weights of that of the Program with its graph and weights, byte for byte."""

import paddle
import pytest
from layer_nets import Convnet, made
from paddle.static import InputSpec

import paddle_unstructured as pu
from paddle_unstructured.export import export

PARTS = {"ratio": 0.75, "pattern": pu.Block(2, 1)}


def files(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Two folders with the inference model of the same net: from a Layer, and from a Program."""
    eager, static = (tmp_path_factory.mktemp(name) for name in ("eager", "static"))
    model = made()
    pruner = pu.UnstructuredPruner(model, **PARTS)
    pruner.step()
    values = {tensor.name: tensor.numpy() for tensor in model.state_dict().values()}
    export(model, [InputSpec([4, 4, 6, 6], name="image")], eager / "model", pruner)
    paddle.enable_static()
    try:
        main, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
        with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
            image = paddle.static.data("image", [4, 4, 6, 6])
            output = Convnet()(image)
        paddle.static.Executor().run(startup, scope=scope)
        for name, value in values.items():
            scope.find_var(name).get_tensor().set(value, paddle.CPUPlace())
        pruner = pu.UnstructuredPruner(main, scope=scope, **PARTS)
        pruner.step()
        export(main, [image], [output], static / "model", pruner)
    finally:
        paddle.disable_static()
    return eager, static


def test_the_weights_of_the_model_have_the_same_bytes(both):
    eager, static = map(files, both)
    assert eager.keys() == static.keys() >= {"model.json", "model.pdiparams"}
    assert eager["model.pdiparams"] == static["model.pdiparams"]
