# SPDX-License-Identifier: Apache-2.0
"""Weights stored as int8: zeros stay, any Predictor runs the model, and the report says what it cost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from nets import Net, convnet, linear

from paddle_unstructured import UnstructuredPruner, sparsity_report
from paddle_unstructured.export.weight_only_int8 import output_error, quantize_weights
from paddle_unstructured.saved_model import Model, open_model, save_model

pytestmark = pytest.mark.usefixtures("static")

WEIGHTS = {"conv2d_0.w_0": 0, "conv2d_1.w_0": 0, "linear_0.w_0": 1}  # name -> output axis
PREDICT = """
import sys
import numpy as np
import paddle.inference
prefix = sys.argv[1]
for optimized in (True, False):
    config = paddle.inference.Config(prefix + ".json", prefix + ".pdiparams")
    config.disable_glog_info()
    config.switch_ir_optim(optimized)
    predictor = paddle.inference.create_predictor(config)
    handle = predictor.get_input_handle(predictor.get_input_names()[0])
    handle.copy_from_cpu(np.load(prefix + ".x.npy"))
    predictor.run()
    outputs = predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
    np.save(f"{prefix}.{optimized}.npy", outputs)
"""


def saved(net: Net, path: str) -> Model:
    paddle.static.save_inference_model(path, [net.input], [net.output], net.exe, program=net.program)
    return open_model(path)


@pytest.fixture
def model(static, tmp_path) -> Model:
    """convnet with half of its weights pruned."""
    net = Net(convnet, [-1, 2, 4, 4], own_scope=False)
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    pruner.step()
    return saved(net, str(tmp_path / "model"))


def tiny(weight: list[list[float]], tmp_path) -> Model:
    """A linear layer with this weight [in, out] and bias 0."""
    weight = np.asarray(weight, "float32")
    net = Net(linear(*weight.shape), [-1, weight.shape[0]])
    net.put("linear_0.w_0", weight)
    return saved(net, str(tmp_path / "tiny"))


def test_each_output_channel_is_rounded_to_127_steps_of_its_largest_weight(tmp_path):
    model = tiny([[1.27, 0.5, 0.0], [-0.013, -1.0, 0.0], [0.004, 0.0, 0.0]], tmp_path)
    small, report = quantize_weights(model)
    assert small.graph.array("linear_0.w_0").tolist() == [[127, 64, 0], [-1, -127, 0], [0, 0, 0]]
    assert small.graph.stored("linear_0.w_0").dtype == np.int8
    np.testing.assert_allclose(small.graph.array("linear_0.w_0_int8_scale"), [[0.01, 1 / 127, 1.0]], rtol=1e-6)
    (row,) = report.rows
    assert (row.weights, row.zeros, row.rounded) == (9, 4, 1)  # 0.004 is less than half a step of 0.01


def test_zeros_stay_and_everything_else_is_within_half_a_step(model):
    small, report = quantize_weights(model)
    for name, axis in WEIGHTS.items():
        before, q = model.graph.array(name), small.graph.array(name)
        scale = small.graph.array(name + "_int8_scale")
        assert scale.shape == tuple(n if i == axis else 1 for i, n in enumerate(before.shape))
        assert not q[before == 0].any() and np.abs(q).max() == 127
        assert (np.abs(q * scale - before) <= scale * 0.5001).all()
    rows = {row.name: row for row in report.rows}
    assert {n: r.zeros for n, r in rows.items()} == {n: int((model.graph.array(n) == 0).sum()) for n in WEIGHTS}
    assert sum(row.zeros for row in report.rows) == 68
    assert {n: r.zeros + r.rounded for n, r in rows.items()} == {
        n: int((small.graph.array(n) == 0).sum()) for n in WEIGHTS
    }


def test_the_program_computes_with_the_dequantized_weights(model):
    small, report = quantize_weights(model)
    plain = open_model(model.files.prefix)
    for name in WEIGHTS:
        plain.graph.store(name, (small.graph.array(name) * small.graph.array(name + "_int8_scale")).astype("float32"))
    x = np.random.default_rng(1).normal(size=(3, 2, 4, 4)).astype("float32")
    assert small.run(x=x)[0].tolist() == plain.run(x=x)[0].tolist()
    assert 0 < report.output_error < 0.02


def test_the_model_given_is_not_changed(model):
    x = np.ones((1, 2, 4, 4), "float32")
    before, text = model.run(x=x)[0], str(model.program)
    quantize_weights(model)
    assert model.run(x=x)[0].tolist() == before.tolist() and str(model.program) == text


def test_files_hold_int8_and_load_back_equal(tmp_path):
    model = saved(Net(linear(64, 64), [-1, 64]), str(tmp_path / "model"))
    small, report = quantize_weights(model)
    save_model(small, str(tmp_path / "int8"))
    sizes = [os.path.getsize(tmp_path / f"{name}.pdiparams") for name in ("model", "int8")]
    assert (report.bytes_before, report.bytes_after) == (4 * 64 * 65, 64 * 64 + 4 * 64 + 4 * 64)
    assert sizes[1] - report.bytes_after < 150 and sizes[0] - report.bytes_before < 150  # names and shapes
    x = np.random.default_rng(1).normal(size=(3, 64)).astype("float32")
    assert open_model(str(tmp_path / "int8")).run(x=x)[0].tolist() == small.run(x=x)[0].tolist()


def test_a_predictor_in_another_process_runs_it(model, tmp_path):
    small, _ = quantize_weights(model)
    prefix = str(tmp_path / "int8")
    save_model(small, prefix)
    x = np.random.default_rng(1).normal(size=(3, 2, 4, 4)).astype("float32")
    np.save(prefix + ".x.npy", x)
    done = subprocess.run([sys.executable, "-c", PREDICT, prefix], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for optimized in (True, False):
        np.testing.assert_allclose(np.load(f"{prefix}.{optimized}.npy"), small.run(x=x)[0], rtol=1e-5, atol=1e-6)


def test_load_inference_model_runs_it(model, tmp_path):
    small, _ = quantize_weights(model)
    save_model(small, str(tmp_path / "int8"))
    x = np.random.default_rng(1).normal(size=(3, 2, 4, 4)).astype("float32")
    with paddle.static.scope_guard(paddle.static.Scope()):
        exe = paddle.static.Executor(paddle.CPUPlace())
        program, feeds, fetches = paddle.static.load_inference_model(str(tmp_path / "int8"), exe)
        assert exe.run(program, feed={feeds[0]: x}, fetch_list=fetches)[0].tolist() == small.run(x=x)[0].tolist()


def test_reports_see_the_same_roles_and_zeros_through_the_scale(model):
    small, report = quantize_weights(model)
    before, after = sparsity_report(model.program, model.scope), sparsity_report(small.program, small.scope)
    weights = [(row.name, row.role, row.shape, row.zeros) for row in before.rows if row.pruned]
    assert [(row.name, row.role, row.shape) for row in after.rows if row.pruned] == [row[:3] for row in weights]
    assert after.counts["selected"] == (68 + sum(row.rounded for row in report.rows), 136)
    assert after.counts["conv1x1"][1] == before.counts["conv1x1"][1] == 16
    scales = [row for row in after.rows if row.name.endswith("_int8_scale")]
    assert [row.role for row in scales] == ["weight scale"] * 3
    axes = {param.name: (param.output_axis, param.input_axis, param.dtype) for param in small.graph.params()}
    assert axes["conv2d_0.w_0"] == (0, 1, "int8") and axes["linear_0.w_0"] == (1, 0, "int8")


def test_a_model_of_int8_has_nothing_more_to_quantize(model):
    with pytest.raises(ValueError, match="no float32 weight"):
        quantize_weights(quantize_weights(model)[0])


def test_int8_weights_are_not_pruned_any_more(model):
    small, _ = quantize_weights(model)
    with pytest.raises(ValueError, match="must be floating point to be pruned, but conv2d_0.w_0 is int8"):
        UnstructuredPruner(small.program, ratio=0.75, scope=small.scope)


def test_weights_inside_loops_and_of_recurrent_layers_are_quantized_too(tmp_path):
    def layers(x):
        layer = paddle.nn.Linear(4, 4)
        start = [paddle.zeros([1], "int64"), paddle.nn.LSTM(4, 4)(x.unsqueeze(1))[0].squeeze(1)]
        return paddle.static.nn.while_loop(lambda i, y: (i < 3).all(), lambda i, y: [i + 1, layer(y)], start)[1]

    model = saved(Net(layers, [2, 4]), str(tmp_path / "model"))
    small, report = quantize_weights(model)
    save_model(small, str(tmp_path / "int8"))
    x = np.random.default_rng(1).normal(size=(2, 4)).astype("float32")
    quantized = sorted(row.name for row in report.rows if not row.kept)
    assert quantized == ["linear_0.w_0", "lstm_cell_0.w_0", "lstm_cell_0.w_1"]
    assert open_model(str(tmp_path / "int8")).run(x=x)[0].tolist() == small.run(x=x)[0].tolist()
    assert 0 < report.output_error < 0.02


def test_transposed_grouped_and_shared_weights_and_embeddings_keep_their_channels(tmp_path):
    def layers(x):
        table = paddle.nn.Embedding(8, 4)
        shared = paddle.nn.Conv2D(4, 4, 1, groups=2)
        y = shared(shared(table(x).transpose([0, 2, 1]).unsqueeze(-1)))
        return paddle.nn.Conv2DTranspose(4, 6, [2, 1])(y)

    net = _int_net(layers)
    model = saved(net, str(tmp_path / "model"))
    small, report = quantize_weights(model)
    shapes = {row.name: small.graph.array(row.name + "_int8_scale").shape for row in report.rows}
    assert shapes == {"embedding_0.w_0": (1, 4), "conv2d_0.w_0": (4, 1, 1, 1), "conv2d_transpose_0.w_0": (1, 6, 1, 1)}
    assert 0 < report.output_error < 0.03 and report.rows[0].error < 0.01


def _int_net(layers) -> Net:
    net = Net(linear(), [-1, 4])
    net.program, net.startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(net.program, net.startup):
        net.input = paddle.static.data("x", [-1, 5], "int64")
        net.output = layers(net.input)
    net.exe.run(net.startup, scope=net.scope)
    return net


def test_skipped_weights_stay_float(model):
    small, report = quantize_weights(model, skip=["linear_0.w_0"])
    assert small.graph.array("linear_0.w_0").tolist() == model.graph.array("linear_0.w_0").tolist()
    assert [row.kept for row in report.rows] == ["", "", "named in `skip`"]
    with pytest.raises(ValueError, match="must name weights of the model, got linear_9.w_0"):
        quantize_weights(model, skip=["linear_9.w_0"])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_refused_by_name(tmp_path, bad):
    model = tiny([[1.0, bad], [1.0, 1.0]], tmp_path)
    with pytest.raises(ValueError, match="linear_0.w_0 has 1 that are NaN or infinite"):
        quantize_weights(model)


def test_a_training_checkpoint_is_refused(tmp_path):
    net = Net(linear(), [2, 4], lambda: paddle.optimizer.SGD(0.1))
    paddle.static.save(net.program, str(tmp_path / "run"))
    with pytest.raises(ValueError, match="must be an inference model"):
        quantize_weights(open_model(str(tmp_path / "run")))


def test_inputs_are_those_given_and_unknown_axes_ask_for_them(model, tmp_path):
    assert quantize_weights(model, inputs={"x": np.ones((1, 2, 4, 4), "float32")})[1].tried_on == "given inputs"
    with pytest.raises(ValueError, match=r"dict with an array for each of \['x'\]"):
        quantize_weights(model, inputs={"y": np.ones((1, 2, 4, 4), "float32")})
    free = saved(Net(lambda x: paddle.nn.Conv2D(2, 3, 1)(x), [-1, 2, -1, -1]), str(tmp_path / "free"))
    with pytest.raises(ValueError, match="must be given for a model whose input 'x' has shape"):
        quantize_weights(free)
    quantize_weights(free, inputs={"x": np.ones((1, 2, 5, 7), "float32")})


def test_the_report_prints_and_serialises(model):
    _, report = quantize_weights(model)
    assert "conv2d_0.w_0" in str(report) and "relative RMS" in str(report)
    assert '"output_error"' in report.to_json()


def test_output_error_is_relative_to_all_outputs():
    assert output_error([np.array([3.0]), np.array([4.0])], [np.array([3.0]), np.array([3.0])]) == 0.2
    with pytest.raises(ValueError, match="equal shapes"):
        output_error([np.ones(2)], [np.ones(3)])


def test_the_blocks_of_the_document_run(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "quantization.md").read_text()
    (tmp_path / "page.py").write_text("\n".join(re.findall(r"```python\n(.*?)```", text, re.S)))
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, env=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert "relative RMS" in done.stdout and "True" in said
    for claim in ("PTQ keeps the zeros", "PTQ changes the outputs by less than 5 %", "QAT keeps the zeros"):
        assert f"{claim}: True" in said, done.stdout
