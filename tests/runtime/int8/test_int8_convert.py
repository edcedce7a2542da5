# SPDX-License-Identifier: Apache-2.0
"""Conversion to int8: layers, outputs and files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import int8_reference
import numpy as np
import paddle
import paddle.nn as nn
import paddle.nn.functional as F
import pytest
from int8_models import DATA, quantized
from int8_nets import NETS, SHAPE, images, saved
from runtime_nets import ISAS, relative_error, save_net

from paddle_unstructured.runtime import Int8, Session, benchmark, convert, create_predictor
from paddle_unstructured.runtime.agreement import compare
from paddle_unstructured.runtime.engine import Engine
from paddle_unstructured.runtime.int8.calibrators import CALIBRATORS
from paddle_unstructured.runtime.int8.quantize import quantize
from paddle_unstructured.runtime.operator import build_program
from paddle_unstructured.runtime.read_net import read_net
from paddle_unstructured.saved_model import open_model

pytestmark = pytest.mark.usefixtures("static")
ROOT = Path(__file__).resolve().parents[3]


def kinds(writer):
    return [line["kind"] for line in int8_reference.parsed(writer.text)]


@pytest.mark.parametrize("net", NETS)
def test_layers_run_in_bytes(tmp_path, net):
    writer, choices = quantized(saved(tmp_path, net))
    found = kinds(writer)
    assert set(found) - set(int8_reference.BYTES) <= {"contents", "input", "output", "softmax"}
    outside = [(choice.layer, choice.why) for choice in choices if choice.kernel.startswith("fp32")]
    assert outside == [("softmax", "no int8 kernel")] * (net == "odd")
    assert found.count("quantize") == 1 and found[2] == "quantize"


def test_the_single_pixels_of_squeeze_and_excite_are_the_second_value(tmp_path):
    writer, _ = quantized(saved(tmp_path, "mobile"))
    made = int8_reference.values(writer.text, writer.arrays, DATA[:1])
    line = next(line for line in int8_reference.parsed(writer.text) if line["kind"] == "int8.multiply")
    plane, gate = (made[i].q.shape for i in int8_reference.numbers(line, "from"))
    assert plane[2:] != (1, 1) and gate[2:] == (1, 1)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("words", [{}, {"calibration": "mse"}, {"calibration": "percentile", "equalize": True}])
def test_outputs_are_close_to_those_in_floats(tmp_path, net, words):
    prefix = saved(tmp_path, net)
    writer, _ = quantized(prefix, **words)
    x = images(128, seed=1)
    found = compare(open_model(prefix).run(x=x), int8_reference.run(writer.text, writer.arrays, x))
    assert found.same_first >= 0.9 and found.mean < 0.01, str(found)  # close calls: the nets are not trained


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("sparsity", [0.0, 0.8])
def test_the_engine_equals_the_reference(tmp_path, monkeypatch, net, isa, sparsity):
    """To the bit; behind a softmax in float32 to their last bits."""
    monkeypatch.setenv("PADDLE_UNSTRUCTURED_ISA", isa)
    writer, _ = quantized(saved(tmp_path, net, sparsity=sparsity))
    x = images(5, seed=2) if net == "odd" else images(5, seed=2)[:, :, :15, :13]
    expected = int8_reference.run(writer.text, writer.arrays, x)[0]
    for threads in (1, 3):
        try:
            got = Engine(writer.text, writer.arrays, threads=threads).run(x)[0]
        except ValueError as error:
            if "this processor has" not in str(error):
                raise
            pytest.skip(f"this processor lacks {isa}")
        assert (got == expected).all() if net != "odd" else relative_error(got, expected) < 1e-6


@pytest.fixture
def models(tmp_path):
    dense, fast = saved(tmp_path, "mobile", sparsity=0.8), str(tmp_path / "fast")
    return dense, fast, convert(dense, fast, int8=Int8(DATA))


def test_session_and_predictor_return_what_the_engine_does(models):
    dense, fast, table = models
    writer, _ = quantized(dense)
    x = images(3, seed=3)
    expected = int8_reference.run(writer.text, writer.arrays, x)[0]
    assert (Session(fast).run(x)[0] == expected).all()
    predictor = create_predictor(fast, threads=2)
    predictor.get_input_handle("x").copy_from_cpu(x)
    predictor.run()
    assert (predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu() == expected).all()


def test_the_table_says_what_runs_in_what(models):
    dense, fast, table = models
    text = str(table)
    assert table.converted and "int8 depthwise" in text and "int8 dense" in text
    assert any(f"activations: {rule}; against float32" in text for rule in CALIBRATORS) and "of 64 samples" in text
    assert all(choice.output.startswith("[") for choice in table.choices[:-1])
    assert table.choices[-1].output == "float32" and table.bytes_before > 2 * table.bytes_after


FRESH = """
import sys, numpy as np
{imports}
import numpy as np
np.save(sys.argv[3], run(np.load(sys.argv[2])))
"""
STOCK = """
import paddle
paddle.base.core.load_op_meta_info_and_register_op(sys.argv[4])
config = paddle.inference.Config(sys.argv[1] + ".json", sys.argv[1] + ".pdiparams")
predictor = paddle.inference.create_predictor(config)
def run(x):
    predictor.get_input_handle("x").copy_from_cpu(x)
    predictor.run()
    return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
"""
ALONE = """
from paddle_unstructured.runtime import Session
run = lambda x: Session(sys.argv[1]).run(x)[0]
assert "paddle" not in sys.modules
"""


@pytest.mark.parametrize("imports", [STOCK, ALONE], ids=["stock predictor", "session without paddle"])
def test_a_fresh_process_returns_the_same(models, tmp_path, imports):
    from paddle_unstructured.runtime.build import operator_library

    x = images(2, seed=4)
    np.save(tmp_path / "x.npy", x)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            FRESH.format(imports=imports),
            models[1],
            str(tmp_path / "x.npy"),
            str(tmp_path / "y.npy"),
            str(operator_library()),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert (np.load(tmp_path / "y.npy") == Session(models[1]).run(x)[0]).all()


def test_damaged_files_are_refused(models):
    file = Path(models[1] + ".pdiparams")
    content = file.read_bytes()
    for place in (60, len(content) // 2, len(content) - 3):
        damaged = bytearray(content)
        damaged[place] ^= 0x40
        file.write_bytes(damaged)
        with pytest.raises(ValueError):
            Session(models[1])
    file.write_bytes(content[:-10])
    with pytest.raises(ValueError, match="cut off|ends"):
        Session(models[1])


def test_zeros_in_the_file_are_those_of_the_model(tmp_path):
    """A weight that is zero is a zero byte; blocks of zeros are not stored at all."""

    def layers(x):
        return nn.Conv2D(16, 32, 1)(F.relu(nn.Conv2D(3, 16, 1)(x)))

    prefix = save_net(tmp_path, layers, SHAPE, sparsity=0.0)
    model = open_model(prefix)
    weight = model.graph.array("conv2d_0.w_0").copy()
    kept = np.repeat(np.random.default_rng(0).random((32, 4)) < 0.25, 4, axis=1)[:, :, None, None]
    model.graph.store("conv2d_0.w_0", (weight * kept).astype("float32"))
    writer, choices = quantize(read_net(model), Int8(DATA))
    assert choices[1].kernel == "int8 sparse 1x4"
    values = [array for array in writer.arrays if array.dtype == np.int8][1]
    assert values.shape == (np.count_nonzero(kept) // 4, 1, 4) and np.count_nonzero(values) <= np.count_nonzero(kept)


def test_skipped_layers_run_in_floats(tmp_path):
    prefix = saved(tmp_path, "residual")
    writer, choices = quantized(prefix, skip=["conv2d_2.w_0", "linear_0.w_0"])
    floats = {choice.layer: choice for choice in choices if choice.kernel.startswith("fp32")}
    assert set(floats) == {"conv2d_2.w_0", "linear_0.w_0"} and floats["linear_0.w_0"].kernel == "fp32 dense"
    assert floats["linear_0.w_0"].why == "as `skip` says"
    x = images(8, seed=1)
    found = compare(open_model(prefix).run(x=x), int8_reference.run(writer.text, writer.arrays, x))
    assert found.mean < 0.01
    with pytest.raises(ValueError, match="must name weights of the model, got conv9"):
        quantized(prefix, skip=["conv9"])


def test_several_outputs_in_bytes_and_floats(tmp_path):
    def layers(x):
        x = F.relu(nn.Conv2D(3, 8, 3)(x))
        deep = F.sigmoid(nn.Conv2D(8, 8, 3, groups=8)(x))
        return [nn.Linear(8, 5)(F.adaptive_avg_pool2d(x, 1).flatten(1)), deep, x]

    prefix = save_net(tmp_path, layers, SHAPE, sparsity=0.0)
    writer, _ = quantized(prefix)
    x = images(4, seed=1)
    for got, expected in zip(int8_reference.run(writer.text, writer.arrays, x), open_model(prefix).run(x=x)):
        assert relative_error(got, expected) < 0.03


def test_vectors_go_in_and_out(tmp_path):
    def layers(x):
        return nn.Linear(30, 4)(F.relu(nn.Linear(9, 30)(x)))

    prefix = save_net(tmp_path, layers, [-1, 9], sparsity=0.0)
    data = np.random.default_rng(0).normal(size=(50, 9)).astype("float32")
    writer, _ = quantized(prefix, data=data)
    assert (
        relative_error(int8_reference.run(writer.text, writer.arrays, data)[0], open_model(prefix).run(x=data)[0])
        < 0.03
    )


def test_a_norm_on_the_input_runs_in_floats(tmp_path):
    def layers(x):
        return nn.Conv2D(3, 4, 3)(nn.BatchNorm2D(3)(x))

    prefix = save_net(tmp_path, layers, SHAPE, sparsity=0.0)
    writer, choices = quantized(prefix)
    assert kinds(writer)[2:5] == ["affine", "quantize", "int8.conv"] and "on the input" in choices[0].why


def narrow_and_wide_channels(tmp_path):
    """A chain with ReLU whose middle channels have ranges far apart."""

    def layers(x):
        x = F.relu(nn.Conv2D(3, 16, 1)(x))
        return nn.Conv2D(16, 8, 1)(F.relu(nn.Conv2D(16, 16, 3, padding=1, groups=16)(x)))

    model = open_model(save_net(tmp_path, layers, SHAPE, sparsity=0.0))
    names = sorted(model.param_names)
    first, deep = (
        next(n for n in names if n.endswith("w_0") and model.graph.array(n).shape == shape)
        for shape in ((16, 3, 1, 1), (16, 1, 3, 3))
    )
    spread = (10.0 ** np.linspace(-2, 2, 16)).astype("float32")
    model.graph.store(first, model.graph.array(first) * spread[:, None, None, None])
    model.graph.store(first.replace("w_0", "b_0"), model.graph.array(first.replace("w_0", "b_0")) * spread)
    model.graph.store(deep, model.graph.array(deep) / spread[:, None, None, None])
    return model


def test_equalization_changes_no_output_in_floats_and_helps_bytes(tmp_path):
    from paddle_unstructured.runtime.int8.equalization import equalize
    from paddle_unstructured.runtime.int8.lowering import lower
    from paddle_unstructured.runtime.write_plan import emit

    model, x = narrow_and_wide_channels(tmp_path), images(8, seed=1)
    expected = model.run(x=x)[0]
    writer, _ = emit(equalize(lower(read_net(model))))
    assert relative_error(Engine(writer.text, writer.arrays).run(x)[0], expected) < 1e-5
    errors = []
    for words in ({}, {"equalize": True}):
        writer, _ = quantize(read_net(model), Int8(DATA, most_error=1, **words))
        errors.append(relative_error(int8_reference.run(writer.text, writer.arrays, x)[0], expected))
    assert errors[1] < errors[0] / 4


def test_bias_correction_moves_the_mean_output_towards_that_in_floats(tmp_path):
    def layers(x):
        for i in range(4):
            x = F.relu(nn.Conv2D(3 if i == 0 else 24, 24, 3, padding=1)(x))
        return nn.Linear(24, 10)(F.adaptive_avg_pool2d(x, 1).flatten(1))

    prefix = save_net(tmp_path, layers, SHAPE, sparsity=0.0)
    expected, errors = open_model(prefix).run(x=DATA)[0], []
    for correct in (False, True):
        writer, _ = quantized(prefix, correct_bias=correct)
        errors.append(np.abs((int8_reference.run(writer.text, writer.arrays, DATA)[0] - expected).mean(0)).mean())
    assert errors[1] < errors[0]


def test_ranges_from_training_need_no_data(tmp_path):
    def layers(x):
        x = F.relu(nn.Conv2D(3, 8, 3)(x))
        return nn.Linear(8, 5)(F.adaptive_avg_pool2d(F.relu6(nn.Conv2D(8, 8, 1)(x)), 1).flatten(1))

    prefix = save_net(tmp_path, layers, SHAPE, sparsity=0.0)
    net = read_net(open_model(prefix))
    first, last = net.outputs[0].layer.inputs[0].inputs[0].inputs[0].name, net.outputs[0].layer.name
    middle = net.outputs[0].layer.inputs[0].inputs[0].name
    ranges = {first: {"input": [-6, 6], "output": [0, 5]}, middle: {"output": [0, 4]}, last: {"input": [0, 3]}}
    writer, _ = quantize(net, Int8(ranges=ranges))
    lines = int8_reference.parsed(writer.text)
    assert [round(float(line["scale"]) * 255, 4) for line in lines if "scale" in line] == [12, 5, 4, 3]
    table = convert(prefix, str(tmp_path / "fast"), int8=Int8(ranges=ranges))
    assert "ranges learned in training" in str(table)


def test_a_model_without_layers_for_the_runtime_stays_with_paddle(tmp_path):
    dense = save_net(tmp_path, lambda x: paddle.kthvalue(paddle.nn.BatchNorm2D(3)(x), 2, 1)[0], SHAPE)
    table = convert(dense, str(tmp_path / "fast"), int8=Int8(DATA))
    assert not table.converted and not table.parts and "kthvalue" in str(table)


def test_nothing_is_written_for_data_that_do_not_fit(tmp_path):
    dense = saved(tmp_path, "residual")
    with pytest.raises(ValueError, match="must fit the input 'x'"):
        convert(dense, str(tmp_path / "fast"), int8=Int8(np.zeros((3, 1, 8, 8))))
    assert not (tmp_path / "fast.json").exists()


def test_data_that_the_net_was_not_trained_on_are_warned_of(tmp_path, caplog):
    dense = saved(tmp_path, "residual")
    convert(dense, str(tmp_path / "fast"), int8=Int8(DATA))
    assert "does not look like" not in caplog.text
    convert(dense, str(tmp_path / "fast"), int8=Int8(255 * np.abs(DATA)))
    assert "the data does not look like what the net was trained on" in caplog.text


@pytest.mark.parametrize("count, said", [(1, "on the same sample; 1 sample"), (5, "on samples held out; 5 samples")])
def test_few_samples_are_said(tmp_path, count, said):
    table = convert(saved(tmp_path, "residual"), str(tmp_path / "fast"), int8=Int8(DATA[:count]))
    assert f"{said} of data: some hundred are usual" in table.note


def test_data_of_another_size_than_the_model_declares_do_not_fit(tmp_path):
    dense = save_net(tmp_path, lambda x: nn.Linear(48, 2)(x.flatten(1)), [-1, 3, 4, 4])
    with pytest.raises(ValueError, match=r"must fit the input 'x', \[-1, 3, 4, 4\] .* got \[16, 3, 8, 8\]"):
        convert(dense, str(tmp_path / "fast"), int8=Int8(np.ones((16, 3, 8, 8), np.float32)))


def test_benchmark_says_how_far_outputs_are_apart(models, tmp_path):
    dense, fast, _ = models
    np.save(tmp_path / "x.npy", images(10, seed=5))
    result = benchmark(dense, fast, rounds=2, batch=4, data=str(tmp_path / "x.npy"))
    expected = compare(open_model(dense).run(x=images(10, seed=5)), Session(fast).run(images(10, seed=5)))
    assert result.outputs.samples == 10 and result.agreement == expected.same_first
    assert result.difference == pytest.approx(expected.largest, rel=0.01) and result.shape == (4, 3, 16, 16)
    assert "of 10 samples" in str(result) and "random" not in str(result)
    assert "says little" in str(benchmark(dense, fast, rounds=1))


def test_int8_parameters_pass_through_a_program_of_paddle(tmp_path):
    from paddle_unstructured.saved_model import save_model

    writer, _ = quantized(saved(tmp_path, "residual"))
    save_model(build_program(writer.text, writer.arrays, open_model(str(tmp_path / "net"))), str(tmp_path / "again"))
    arrays = open_model(str(tmp_path / "again"))
    stored = [arrays.graph.array(name) for name in sorted(arrays.param_names)]
    assert all((a == b).all() and a.dtype == b.dtype for a, b in zip(stored, writer.arrays))
