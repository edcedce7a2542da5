# SPDX-License-Identifier: Apache-2.0
"""A converted model under Paddle's stock Predictor and in processes of their own; damaged files; the layout guard."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import paddle.nn as nn
import paddle.nn.functional as F
import pytest
from runtime_nets import relative_error, save_net

from paddle_unstructured.formats.pir_json import read_program
from paddle_unstructured.runtime import Session, benchmark, convert, create_predictor
from paddle_unstructured.runtime.build import operator_library
from paddle_unstructured.runtime.operator import build_program
from paddle_unstructured.runtime.session import operators
from paddle_unstructured.saved_model import open_model

pytestmark = pytest.mark.usefixtures("static")
ROOT = Path(__file__).resolve().parents[2]


def layers(x):
    x = F.relu(nn.BatchNorm2D(16)(nn.Conv2D(3, 16, 3, 2, 1)(x)))
    x = F.relu(nn.Conv2D(16, 16, 3, padding=1, groups=16)(x))
    return nn.Linear(20, 5)(F.adaptive_avg_pool2d(F.relu(nn.Conv2D(16, 20, 1)(x)), 1).flatten(1))


@pytest.fixture
def models(tmp_path):
    dense = save_net(tmp_path, layers, [-1, 3, -1, -1])
    convert(dense, str(tmp_path / "fast"))
    return dense, str(tmp_path / "fast")


def image(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def predict(predictor, x):
    predictor.get_input_handle("x").copy_from_cpu(x)
    predictor.run()
    return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()


@pytest.mark.parametrize("threads", [1, 2])
def test_the_predictor_equals_the_dense_model(models, threads):
    dense, fast = models
    predictor = create_predictor(fast, threads=threads)
    for x in (image(1, 3, 32, 32), image(4, 3, 20, 45)):
        assert relative_error(predict(predictor, x), open_model(dense).run(x=x)[0]) < 1e-5


def test_two_models_with_the_same_plan_are_kept_apart(tmp_path):
    predictors = []
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        convert(save_net(folder, layers, [-1, 3, -1, -1], seed=seed), str(folder / "fast"))
        predictors.append((create_predictor(str(folder / "fast")), open_model(str(folder / "net"))))
    x = image(1, 3, 16, 16)
    for predictor, model in predictors * 2:
        assert relative_error(predict(predictor, x), model.run(x=x)[0]) < 1e-5


def test_a_dense_model_opens_too(models):
    x = image(1, 3, 16, 16)
    assert relative_error(predict(create_predictor(models[0]), x), open_model(models[0]).run(x=x)[0]) < 1e-5


def in_fresh_process(code, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


STOCK = """
import sys, numpy as np, paddle
library, prefix, x, y = sys.argv[1:]
paddle.base.core.load_op_meta_info_and_register_op(library)
config = paddle.inference.Config(prefix + ".json", prefix + ".pdiparams")
predictor = paddle.inference.create_predictor(config)
predictor.get_input_handle("x").copy_from_cpu(np.load(x))
predictor.run()
np.save(y, predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu())
"""

ALONE = """
import sys, numpy as np
from paddle_unstructured.formats.pir_json import read_program
from paddle_unstructured.runtime import Session
np.save(sys.argv[3], Session(sys.argv[1]).run(np.load(sys.argv[2]))[0])
assert "paddle" not in sys.modules
"""


def test_a_stock_predictor_in_a_fresh_process_needs_only_the_library(models, tmp_path):
    x = image(2, 3, 24, 24)
    np.save(tmp_path / "x.npy", x)
    done = in_fresh_process(STOCK, str(operator_library()), models[1], str(tmp_path / "x.npy"), str(tmp_path / "y.npy"))
    assert done.returncode == 0, done.stderr
    assert relative_error(np.load(tmp_path / "y.npy"), open_model(models[0]).run(x=x)[0]) < 1e-5


def test_a_session_runs_without_paddle_in_the_process(models, tmp_path):
    x = image(2, 3, 24, 24)
    np.save(tmp_path / "x.npy", x)
    done = in_fresh_process(ALONE, models[1], str(tmp_path / "x.npy"), str(tmp_path / "y.npy"))
    assert done.returncode == 0, done.stderr
    assert relative_error(np.load(tmp_path / "y.npy"), open_model(models[0]).run(x=x)[0]) < 1e-5


@pytest.mark.parametrize("stamped", [True, False])
def test_damaged_weights_are_refused_by_session_and_predictor(models, stamped):
    program, file = Path(models[1] + ".json"), Path(models[1] + ".pdiparams")
    if not stamped:
        program.write_text(program.read_text().split(',"paddle_unstructured":{')[0] + "}")
    content = bytearray(file.read_bytes())
    content[-3] ^= 0x40
    file.write_bytes(content)
    said = "fast.pdiparams does not hold the weights that .*fast.json was written with" if stamped else "fast.*digest"
    for reader in (Session, create_predictor):
        with pytest.raises(ValueError, match=said):
            reader(models[1])


def test_a_file_cut_off_is_refused(models):
    file = Path(models[1] + ".pdiparams")
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match="cut off|ends"):
        Session(models[1])


def test_another_program_is_refused(models, tmp_path):
    Path(models[1] + ".json").write_text(json.dumps({"program": {"regions": []}}))
    with pytest.raises(ValueError, match="must be a Program"):
        Session(models[1])


BEHIND_ONEDNN = """
import sys, numpy as np, paddle
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/runtime"]
from test_predictor import save_behind_another_op, predict, image
from paddle_unstructured.runtime.operator import register
paddle.enable_static()
prefix = save_behind_another_op(sys.argv[2])
config = paddle.inference.Config(prefix + ".json", prefix + ".pdiparams")
config.enable_mkldnn()
config.disable_glog_info()
try:
    predict(paddle.inference.create_predictor(config), image(1, 8, 16, 16))
except Exception as error:
    print("refused:", error)
"""


def save_behind_another_op(folder):
    """A Program where our operator follows a convolution of Paddle's."""
    from paddle_unstructured.runtime.operator import NAME, register
    from paddle_unstructured.runtime.plan import one_image

    register()
    writer = one_image(16)
    writer.output(writer.affine(0, np.ones(16), np.zeros(16)), rank=4)
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(program, startup):
        x = paddle.static.data("x", [-1, 8, 16, 16], "float32")
        ones, zeros = (
            paddle.static.create_parameter([16], "float32", default_initializer=nn.initializer.Constant(value))
            for value in (1, 0)
        )
        y = paddle._C_ops._run_custom_op(
            f"{NAME}1", [F.relu(nn.Conv2D(8, 16, 3, padding=1)(x))], [ones, zeros], writer.text, 0
        )
    executor = paddle.static.Executor(paddle.CPUPlace())
    executor.run(startup)
    prefix = os.path.join(folder, "behind")
    paddle.static.save_inference_model(prefix, [x], list(y) if isinstance(y, list) else [y], executor, program=program)
    return prefix


def test_a_blocked_layout_is_refused_by_the_kernel(tmp_path):
    done = in_fresh_process(BEHIND_ONEDNN, str(ROOT / "tests"), str(tmp_path))
    assert "refused:" in done.stdout, done.stdout + done.stderr


def test_a_blocked_layout_is_refused_in_python(tmp_path):
    with pytest.raises(ValueError, match="must read the model's inputs directly"):
        create_predictor(save_behind_another_op(str(tmp_path)))


def test_a_senseless_number_of_threads_is_refused(models):
    with pytest.raises(ValueError, match=r"`threads` must be an int in \[1, 256\]"):
        create_predictor(models[1], threads=0)


def test_more_axes_than_onednn_knows_run_without_it(tmp_path, caplog):
    def wide(x):
        x = paddle.mode(nn.Conv2D(3, 8, 1)(x), -1)[0]  # which nobody has a kernel for
        return F.softmax(x.reshape([-1, 2, 2, 2, 1, 2, 2]) * 2.0, 2)

    dense = save_net(tmp_path, wide, [-1, 3, 4, 4])
    assert convert(dense, tmp_path / "fast").parts
    assert "fails on values of 7 axes; call config.disable_mkldnn()" in caplog.text
    x = image(2, 3, 4, 4)
    for prefix in (dense, str(tmp_path / "fast")):
        assert relative_error(predict(create_predictor(prefix), x), open_model(dense).run(x=x)[0]) < 1e-5


def test_what_paddle_cannot_open_with_onednn_runs_without_it(models, monkeypatch, caplog):
    """A linear layer behind a reshape to several open sizes, for example, of which a pass makes a shape below zero."""
    opens = paddle.inference.create_predictor

    def fails(config):
        if config.mkldnn_enabled():
            raise ValueError("(InvalidArgument) The input's second dimension is -512.")
        return opens(config)

    monkeypatch.setattr(paddle.inference, "create_predictor", fails)
    x = np.ones([1, 3, 20, 20], np.float32)
    assert relative_error(predict(create_predictor(models[1]), x), open_model(models[0]).run(x=x)[0]) < 1e-5
    assert "runs without oneDNN, with which Paddle cannot open it: (InvalidArgument) The input's second" in caplog.text


def test_benchmark_compares_two_models_side_by_side(models):
    result = benchmark(*models, threads=1, rounds=3, inputs={"x": image(4, 3, 32, 32)})
    assert result.difference < 1e-5 and result.agreement == 1.0
    assert result.speedup > 0 and all(milliseconds > 0 for milliseconds in result.milliseconds)
    assert result.shape == (4, 3, 32, 32) and "speedup" in str(result) and models[1] in str(result)


def test_benchmark_refuses_models_of_different_nets(models, tmp_path):
    (tmp_path / "other").mkdir()
    other = save_net(tmp_path / "other", lambda x: nn.Conv2D(3, 2, 1)(x), [-1, 3, -1, -1])
    with pytest.raises(ValueError, match="models of the same net"):
        benchmark(models[0], other, rounds=1, inputs={"x": image(1, 3, 8, 8)})


def test_benchmark_says_why_a_model_does_not_take_what_the_other_takes(models, tmp_path):
    _, fast = models
    (tmp_path / "other").mkdir()
    wide = save_net(tmp_path / "other", lambda x: nn.Conv2D(5, 2, 1)(x), [-1, 5, -1, -1])
    with pytest.raises(ValueError, match=r"same net, but .* fails on x \[1, 5, 8, 8\]: the input must be float32 of"):
        benchmark(wide, fast, rounds=1, inputs={"x": image(1, 5, 8, 8)})
    with pytest.raises(ValueError, match="`data` must be numbers, but x has NaN"):
        benchmark(wide, wide, rounds=1, data=np.full([2, 5, 8, 8], np.nan, np.float32))
    program, executor = paddle.static.Program(), paddle.static.Executor(paddle.CPUPlace())
    with paddle.static.program_guard(program, paddle.static.default_startup_program()):
        y = paddle.static.data("y", [-1, 4])
        z = nn.Linear(4, 2)(y)
    executor.run(paddle.static.default_startup_program())
    paddle.static.save_inference_model(str(tmp_path / "y"), [y], [z], executor, program=program)
    with pytest.raises(ValueError, match=r"the same net, but read \['x'\] and \['y'\]"):
        benchmark(wide, str(tmp_path / "y"), rounds=1, inputs={"x": image(1, 5, 8, 8)})


def test_an_operator_of_a_damaged_plan_is_refused_before_it_is_built(models):
    dense, fast = models
    [ours] = operators(read_program(fast + ".json"), fast + ".json")
    plan, names = ours.plan, ours.params
    stored = open_model(fast).graph.stored
    like, arrays = open_model(dense), [stored(name) for name in names]
    x = image(1, 3, 8, 8)
    assert relative_error(build_program(plan, arrays, like).run(x=x)[0], like.run(x=x)[0]) < 1e-5
    for damaged, given, message in [
        (plan.replace("out=20", "out=21"), arrays, "21"),
        (plan, [arrays[0] + 1, *arrays[1:]], "digest"),
        (plan, [], "0 parameters|parameter|array"),
        ("nonsense", arrays, "plan"),
    ]:
        with pytest.raises(ValueError, match=message):
            build_program(damaged, given, like)


def test_a_damaged_plan_in_a_loaded_program_says_who_knows_more(models):
    fast = models[1]
    file = Path(fast + ".json")
    file.write_text(file.read_text().replace("out=20", "out=21"))
    with pytest.raises(ValueError, match="an operator in .*fast.json fails.*`Session`"):
        open_model(fast).run(x=image(1, 3, 8, 8))
    with pytest.raises(ValueError, match="20 input channels got 21"):
        Session(fast)


@pytest.mark.parametrize(
    "left, said",
    [
        (lambda x: nn.LayerNorm([8, 4, 4])(x), "fails on layer_norm over several axes"),
        (lambda x: F.interpolate(x, scale_factor=2), "fails on nearest_interp"),
    ],
)
def test_what_onednn_fails_on_beside_our_operators_is_said(tmp_path, left, said, caplog):
    def net(x):
        return left(paddle.mode(nn.Conv2D(3, 8, 1)(x), -1, keepdim=True)[0].expand([-1, 8, 4, 4]))

    dense = save_net(tmp_path, net, [-1, 3, 4, 4])
    assert convert(dense, tmp_path / "fast").parts
    assert said + "; call config.disable_mkldnn()" in caplog.text
    x = image(2, 3, 4, 4)
    assert relative_error(predict(create_predictor(tmp_path / "fast"), x), open_model(dense).run(x=x)[0]) < 1e-5
