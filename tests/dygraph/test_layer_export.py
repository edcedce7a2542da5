# SPDX-License-Identifier: Apache-2.0
"""The inference model of an nn.Layer: exactly sparse, checked, and what the model computes in evaluation mode."""

import numpy as np
import paddle
import pytest
from layer_nets import made
from paddle.static import InputSpec

import paddle_unstructured as pu
from paddle_unstructured.export import check, export, open_model

SPEC = [InputSpec([None, 4, 6, 6], name="image")]


def load(path, data):
    config = paddle.inference.Config(f"{path}.json", f"{path}.pdiparams")
    config.disable_glog_info()
    predictor = paddle.inference.create_predictor(config)
    return predictor.run([paddle.to_tensor(data)])[0].numpy()


@pytest.mark.parametrize("convert", [False, True])
def test_the_exported_model_is_sparse_and_computes_what_the_layer_does(tmp_path, convert):
    model = made()
    model.norm.eval()  # a part that is not trained stays so
    if convert:
        model = paddle.jit.to_static(model, input_spec=SPEC, full_graph=True)
    pruner = pu.UnstructuredPruner(model, ratio=0.5, pattern=pu.Block(2, 1))
    pruner.step()
    model(paddle.randn([7, 4, 6, 6]))  # a converted model has a Program of that shape then
    forward = model.forward
    written = export(model, SPEC, tmp_path / "model", pruner)
    assert model.forward == forward
    assert written.report.counts["selected"] == (round(pruner.sparsity() * 360), 360) and pruner.sparsity() > 0.4
    assert model.training and not model.norm.training and paddle.in_dynamic_mode()
    data = np.random.default_rng(0).normal(size=[3, 4, 6, 6]).astype("float32")
    model.eval()
    np.testing.assert_allclose(load(tmp_path / "model", data), model(paddle.to_tensor(data)).numpy(), atol=1e-6)
    paddle.enable_static()
    try:
        saved = open_model(tmp_path / "model")
        assert check(saved.program, saved.scope, pattern=pu.Block(2, 1)).holds
    finally:
        paddle.disable_static()


def test_masks_are_applied_to_weights_that_were_loaded_dense(tmp_path):
    model = made()
    pu.UnstructuredPruner(model, ratio=0.5).step()
    model.set_state_dict(made(seed=2).state_dict())
    assert export(model, SPEC, path=tmp_path / "model").report.counts["selected"][0] == 180
    assert export(made(), SPEC, path=tmp_path / "dense").report.counts["selected"][0] == 0


def test_an_unfinished_model_is_refused_and_nothing_is_written(tmp_path):
    model = made()
    pruner = pu.UnstructuredPruner(model, schedule=pu.Polynomial(final=0.5, begin_step=0, end_step=9))
    pruner.step()
    with pytest.raises(ValueError, match="the model is not finished"):
        export(model, SPEC, tmp_path / "model", pruner)
    assert not list(tmp_path.iterdir()) and paddle.in_dynamic_mode()
    export(model, SPEC, tmp_path / "model", pruner, unfinished=True)


def test_the_pruner_of_another_pruned_model_is_refused(tmp_path):
    one, other = made(), made()
    pruners = [pu.UnstructuredPruner(model, ratio=ratio) for model, ratio in ((one, 0.5), (other, 0.75))]
    for pruner in pruners:
        pruner.step()
    with pytest.raises(ValueError, match="`pruner` must be of the model that is exported"):
        export(other, SPEC, tmp_path / "model", pruners[0])
    assert not list(tmp_path.iterdir())
    export(other, SPEC, tmp_path / "model", pruners[1])


def test_wrong_arguments_are_refused_by_name(tmp_path):
    model = made()
    pruner = pu.UnstructuredPruner(model, ratio=0.5)
    pruner.step()
    with pytest.raises(ValueError, match="`pruner` must be of the model that is exported"):
        export(made(), SPEC, tmp_path / "model", pruner)
    with pytest.raises(TypeError, match="`input_spec` must be a list of paddle.static.InputSpec"):
        export(model, [], tmp_path / "model", pruner)
    with pytest.raises(TypeError, match="`exe` and `scope` belong to a static Program"):
        export(model, SPEC, tmp_path / "model", pruner, exe=object())


@pytest.mark.parametrize(
    "spec, reason",
    [
        ([InputSpec([4])], r"ValueError: "),
        (SPEC * 2, "ValueError: The decorated function `forward` requires 1 arguments"),
    ],
)
def test_inputs_that_the_layer_does_not_take_are_named_in_a_line(tmp_path, spec, reason):
    with pytest.raises(
        ValueError, match=rf"`input_spec` must be what Convnet can be traced with, got .*: {reason}"
    ) as found:
        export(made(), spec, tmp_path / "model")
    assert "File" not in str(found.value) and paddle.in_dynamic_mode() and not list(tmp_path.iterdir())


def test_channels_that_a_convolution_has_no_weights_for_are_refused(tmp_path):
    message = "reads 4 channels and gets 5; give inputs of the shape"
    with pytest.raises(ValueError, match=message):
        export(made(), [InputSpec([None, 5, 6, 6])], tmp_path / "model")
    assert not list(tmp_path.iterdir())
