# SPDX-License-Identifier: Apache-2.0
"""ONNX files: what onnxruntime computes is what Paddle computes, and zeros are where they were."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from nets import Net, convnet, linear, loop
from odd_models import recurrent

from paddle_unstructured import UnstructuredPruner
from paddle_unstructured.export import onnx as to_onnx_module
from paddle_unstructured.export.onnx import OnnxReport, to_onnx
from paddle_unstructured.export.weight_only_int8 import quantize_weights
from paddle_unstructured.saved_model import open_model, save_model

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("paddle2onnx")
pytestmark = [pytest.mark.usefixtures("static"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def saved(net: Net, path, outputs=None) -> str:
    paddle.static.save_inference_model(str(path), [net.input], outputs or [net.output], net.exe, program=net.program)
    return str(path)


@pytest.fixture(scope="module")
def converted(tmp_path_factory) -> tuple[str, OnnxReport]:
    """convnet with half of its weights pruned, and the report on its ONNX file: converting takes more than a second."""
    paddle.enable_static()
    with paddle.static.scope_guard(paddle.static.Scope()):
        net, folder = Net(convnet, [-1, 2, 4, 4]), tmp_path_factory.mktemp("onnx")
        UnstructuredPruner(net.program, ratio=0.5).step()
        path = saved(net, folder / "model")
        return path, to_onnx(path, str(folder / "model.onnx"))


@pytest.fixture
def pruned(static, converted, monkeypatch) -> str:
    """That model; converting it again is free."""
    path, report = converted
    again = Path(report.file).read_bytes()
    monkeypatch.setattr(to_onnx_module, "_converted", lambda model, opset: again)
    return path


def initializers(file: str) -> dict[str, np.ndarray]:
    return {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(file).graph.initializer}


def test_any_number_of_rows_gives_what_paddle_gives(converted):
    path, report = converted
    session = onnxruntime.InferenceSession(report.file, providers=["CPUExecutionProvider"])
    for rows in (1, 5):
        x = np.random.default_rng(rows).normal(size=(rows, 2, 4, 4)).astype("float32")
        np.testing.assert_allclose(session.run(None, {"x": x})[0], open_model(path).run(x=x)[0], rtol=1e-4, atol=1e-5)
    assert report.relative < 1e-5 and report.opset == 13
    assert "on random inputs of 1 and 3 rows; 68 of 136 weights are zero" in str(report)


def test_weights_are_initializers_with_their_zeros_batch_norm_or_not(converted):
    path, report = converted
    arrays, graph = initializers(report.file), open_model(path).graph
    for name in ("conv2d_0.w_0", "conv2d_1.w_0", "linear_0.w_0"):
        assert arrays[name].tolist() == graph.array(name).tolist()
    assert (report.zeros, report.weights, report.renamed) == (68, 136, ())


def test_an_int8_model_stays_int8(converted, tmp_path):
    small, quantized = quantize_weights(open_model(converted[0]))
    save_model(small, str(tmp_path / "int8"))
    report = to_onnx(str(tmp_path / "int8"), str(tmp_path / "int8.onnx"))
    assert initializers(report.file)["conv2d_0.w_0"].dtype == np.int8
    assert report.zeros == 68 + sum(row.rounded for row in quantized.rows)


def test_every_output_is_compared_in_order(tmp_path):
    net = Net(linear(4, 4), [-1, 4])
    with paddle.static.program_guard(net.program):
        second = net.output.sum(axis=1)
    report = to_onnx(saved(net, tmp_path / "model", [second, net.output]), str(tmp_path / "two.onnx"))
    shapes = [[d.dim_value for d in o.type.tensor_type.shape.dim][1:] for o in onnx.load(report.file).graph.output]
    assert shapes == [[], [4]]


def test_a_difference_is_refused_and_nothing_is_written(pruned, tmp_path, monkeypatch):
    make = to_onnx_module._with_initializers

    def spoilt(made, names):
        made = make(made, names)
        bias = next(t for t in made.graph.initializer if t.name == "linear_0.b_0")
        bias.CopyFrom(onnx.numpy_helper.from_array(np.full(3, 0.5, "float32"), "linear_0.b_0"))
        return made

    monkeypatch.setattr(to_onnx_module, "_with_initializers", spoilt)
    with pytest.raises(ValueError, match=r"output 0 differs by 0.5 \(relative .*, allowed 0.0001\)"):
        to_onnx(pruned, str(tmp_path / "model.onnx"))
    assert not os.path.exists(tmp_path / "model.onnx")


def test_sigmoids_near_zero_are_known_to_a_rounding_of_one(tmp_path):
    net = Net(lambda x: F.sigmoid(linear(2, 3)(x) - 15.5) + 1e-8 * linear(2, 3)(x), [-1, 2])  # about 2e-7
    report = to_onnx(saved(net, tmp_path / "model"), str(tmp_path / "model.onnx"), tolerance=1e-12)
    assert report.largest < 2.4e-7


def test_a_lost_zero_is_refused(pruned, tmp_path, monkeypatch):
    make = to_onnx_module._with_initializers

    def spoilt(made, names):
        made = make(made, names)
        weight = next(t for t in made.graph.initializer if t.name == "conv2d_0.w_0")
        array = onnx.numpy_helper.to_array(weight) + np.float32(1e-9)
        weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
        return made

    monkeypatch.setattr(to_onnx_module, "_with_initializers", spoilt)
    with pytest.raises(ValueError, match="zeros must stay zeros, but the ONNX model has another conv2d_0.w_0"):
        to_onnx(pruned, str(tmp_path / "model.onnx"))


def test_what_paddle2onnx_cannot_convert_is_an_error_with_its_words(tmp_path):
    net = Net(lambda x: paddle.digamma(linear(2, 2)(x)), [-1, 2])
    with pytest.raises(ValueError, match="paddle2onnx cannot convert .*; of the model's ops probably digamma"):
        to_onnx(saved(net, tmp_path / "model"), str(tmp_path / "model.onnx"))


REWRITTEN = [
    lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
    lambda x: F.interpolate(x, scale_factor=[1.5, 2], mode="bilinear"),
    lambda x: F.softplus(x),
    lambda x: F.channel_shuffle(x, 2),
    lambda x: F.channel_shuffle(x.transpose([0, 2, 3, 1]), 2, "NHWC"),
    lambda x: F.pixel_unshuffle(x, 2),
    lambda x: F.pixel_unshuffle(x.transpose([0, 2, 3, 1]), 2, "NHWC"),
    lambda x: paddle.masked_fill(x, x > 0.5, -1.0),
    lambda x: paddle.amax(x, [1, 2]) + paddle.amin(x),
    lambda x: F.celu(paddle.expm1(x), 0.5),
    lambda x: paddle.addmm(x.mean([0, 1, 2]), x[:, 0, 0], x[0, 0], 0.5, 2.0),
    lambda x: paddle.baddbmm(x[:, 0], x[:, 0], x[:, 1], 0.5, 2.0),
]


def test_ops_that_paddle2onnx_does_not_know_are_written_in_others(tmp_path):
    def ways(x):
        return paddle.concat([function(x).flatten(1) for function in REWRITTEN], 1)

    net = Net(lambda x: ways(linear(2, 144)(x).reshape([-1, 4, 6, 6])), [-1, 2])
    report = to_onnx(saved(net, tmp_path / "model"), str(tmp_path / "model.onnx"))
    assert report.relative < 1e-5 and report.weights == 288


def test_a_refusal_names_the_users_files(converted, monkeypatch):
    opened = open_model(converted[0])
    monkeypatch.setattr(
        to_onnx_module, "_CONVERT", "import sys\nsys.exit('ERROR: cannot read ' + sys.argv[1] + '.json')"
    )
    with pytest.raises(ValueError) as refused:
        to_onnx_module._converted(opened, 13)
    assert f"ERROR: cannot read {opened.files.prefix}.json" in str(refused.value)
    assert tempfile.gettempdir() not in str(refused.value).replace(opened.files.prefix, "")


def test_nothing_is_written_to_stdout_or_stderr(converted, tmp_path, capfd):
    capfd.readouterr()
    to_onnx(converted[0], str(tmp_path / "model.onnx"))
    assert capfd.readouterr() == ("", "")


def test_inputs_can_be_given(tmp_path):
    net = Net(lambda x: paddle.nn.Conv2D(2, 3, 1)(x), [-1, 2, -1, -1])
    path = saved(net, tmp_path / "model")
    with pytest.raises(ValueError, match="must be given for a model whose input 'x'"):
        to_onnx(path, str(tmp_path / "model.onnx"))
    report = to_onnx(path, str(tmp_path / "model.onnx"), inputs=[{"x": np.ones((1, 2, 5, 7), "float32")}])
    assert report.tries == "1 given sample"


def test_a_training_checkpoint_is_refused(tmp_path):
    net = Net(linear(), [2, 4], lambda: paddle.optimizer.SGD(0.1))
    paddle.static.save(net.program, str(tmp_path / "run"))
    with pytest.raises(ValueError, match="must be an inference model"):
        to_onnx(str(tmp_path / "run"), str(tmp_path / "run.onnx"))


def test_a_missing_extra_says_what_to_install(pruned, tmp_path, monkeypatch):
    monkeypatch.setattr(to_onnx_module, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'paddle_unstructured\[onnx\]'"):
        to_onnx(pruned, str(tmp_path / "model.onnx"))


def bfloat16(x):
    weight = paddle.static.create_parameter([4, 3], "bfloat16", default_initializer=paddle.nn.initializer.Constant(0.5))
    return paddle.matmul(x.cast("bfloat16"), weight).cast("float32")


def rare(x):
    return paddle.nn.Linear(4, 3)(x) * x[:, :3].cast("int16").cast("float32")


@pytest.mark.parametrize(
    "layers, named",
    [
        (bfloat16, "create_parameter_\\d+.w_0, a result of pd_op.cast, a result of pd_op.matmul in bfloat16"),
        (rare, "a result of pd_op.cast in int16"),
    ],
    ids=["bfloat16", "int16"],
)
def test_a_refusal_names_what_is_of_a_rare_dtype(layers, named, tmp_path):
    net = Net(layers, [-1, 4])
    with pytest.raises(ValueError, match=named):
        to_onnx(saved(net, tmp_path / "model"), tmp_path / "model.onnx")


@pytest.mark.parametrize("layers", [bfloat16, recurrent(paddle.nn.SimpleRNN), loop], ids=lambda layers: layers.__name__)
def test_what_onnxruntime_refuses_is_a_value_error(tmp_path, layers):
    path = saved(Net(layers, [2, 4]), tmp_path / "model")
    with pytest.raises(ValueError, match="onnxruntime must run what paddle2onnx makes|paddle2onnx cannot convert"):
        to_onnx(path, str(tmp_path / "model.onnx"))
    assert not (tmp_path / "model.onnx").exists()


def test_a_shape_that_the_net_computes_of_its_input_is_converted(static, tmp_path):
    def flattened(x):
        rows = paddle.shape(x)[0]
        return paddle.nn.Linear(8, 2)(x.reshape([rows * 2, 8]))

    path = saved(Net(flattened, [-1, 2, 8]), tmp_path / "model")
    assert to_onnx(path, tmp_path / "model.onnx").relative < 1e-5
    report = to_onnx(path, tmp_path / "model.onnx", shapes={"x": [5, 2, 8]})
    assert report.tries == "random inputs of x=[5, 2, 8]" and report.relative < 1e-5
