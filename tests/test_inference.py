# SPDX-License-Identifier: Apache-2.0
"""What is written is opened by Paddle's own Predictor first, and what goes wrong inside it is known."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from nets import Net
from odd_models import recurrent
from paddle import nn

from paddle_unstructured.export.export_program import export
from paddle_unstructured.runtime import benchmark, create_predictor
from paddle_unstructured.saved_model import open_model, save_model

pytestmark = pytest.mark.usefixtures("static")
SHAPE = [2, 3, 8, 8]
X = np.random.default_rng(0).normal(size=SHAPE).astype("float32")


def saved(tmp_path: Any, layers: Any, shape: list[int] = SHAPE) -> str:
    """As Paddle itself saves the net."""
    net, path = Net(layers, shape, own_scope=True), str(tmp_path / "model")
    with paddle.static.scope_guard(net.scope):
        paddle.static.save_inference_model(path, [net.input], [net.output], net.exe, program=net.program)
    return path


def by_predictor(path: str, x: np.ndarray) -> np.ndarray:
    predictor = create_predictor(path)
    predictor.get_input_handle("x").copy_from_cpu(x)
    predictor.run()
    return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()


def nearest(x: Any) -> Any:
    return nn.Conv2D(8, 3, 1)(F.interpolate(nn.Conv2D(3, 8, 3)(x), scale_factor=2))


def bilinear(x: Any) -> Any:
    return nn.Conv2D(8, 3, 1)(F.interpolate(nn.Conv2D(3, 8, 3)(x), size=[9, 7], mode="bilinear", align_corners=True))


def inside_a_branch(x: Any) -> Any:
    x = nn.Conv2D(3, 3, 1)(x)
    return paddle.static.nn.cond(
        x.mean() > -1e9, lambda: F.interpolate(x, scale_factor=2), lambda: x.tile([1, 1, 2, 2])
    )


def rearranged(x: Any) -> Any:
    """Convolution, reshape, transpose, matmul: 1.3 of the largest output off with Paddle's own passes."""
    return nn.Linear(8, 6)(F.relu(nn.Conv2D(3, 8, 3)(x)).reshape([2, 8, 36]).transpose([0, 2, 1]))


def turned(x: Any) -> Any:
    """Sine and cosine of the same numbers, as rotary positions have them: one is written over what the other reads."""
    x = nn.Conv2D(3, 8, 1)(x)
    return nn.Conv2D(8, 4, 1)(paddle.cos(x) * 2 + paddle.sin(x))


def normed_whole(x: Any) -> Any:
    """A norm over channels and pixels together, whose kernel in oneDNN knows the last axis alone."""
    return nn.LayerNorm([8, 4, 4])(F.adaptive_avg_pool2d(nn.Conv2D(3, 8, 1)(x), 4))


@pytest.mark.parametrize(
    "layers", [nearest, bilinear, inside_a_branch, normed_whole, rearranged, turned], ids=lambda layers: layers.__name__
)
def test_nets_on_which_onednn_fails_run_and_are_right(tmp_path, layers, caplog):
    path = saved(tmp_path, layers)
    with caplog.at_level(logging.WARNING):
        found = by_predictor(path, X)
    np.testing.assert_allclose(found, open_model(path).run(x=X)[0], rtol=1e-4, atol=1e-5)
    fails = layers not in (rearranged, turned)
    assert ("runs without oneDNN, since Paddle's own fails on" in caplog.text) == fails


def test_benchmark_takes_a_net_with_an_interpolation(tmp_path):
    path = saved(tmp_path, bilinear)
    assert benchmark(path, path, rounds=1).difference < 1e-5


@pytest.mark.parametrize(
    "layers, said",
    [
        (nearest, "fails on nearest_interp with oneDNN"),
        (normed_whole, "fails on layer_norm over several axes with oneDNN"),
        (rearranged, "reshape_transpose_matmul_fuse_pass"),
        (turned, "writes over numbers that are read again; call config.delete_pass('inplace_pass')"),
    ],
)
def test_an_export_says_what_paddle_does_wrong_with_it(tmp_path, layers, said, caplog):
    net = Net(layers, SHAPE, own_scope=True)
    with caplog.at_level(logging.WARNING):
        export(net.program, [net.input], [net.output], str(tmp_path / "model"), exe=net.exe, scope=net.scope)
    assert said in caplog.text and "create_predictor" in caplog.text


def test_a_net_without_faults_is_exported_without_a_word(tmp_path, caplog):
    net = Net(lambda x: nn.Linear(8, 6)(nn.Conv2D(3, 8, 3)(x).flatten(2).matmul(paddle.ones([36, 8]))), SHAPE)
    with caplog.at_level(logging.WARNING):
        export(net.program, [net.input], [net.output], str(tmp_path / "model"), exe=net.exe)
    assert not caplog.text


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.SimpleRNN])
def test_two_recurrent_layers_that_paddle_saved_are_opened(tmp_path, kind):
    path = saved(tmp_path, recurrent(kind), [2, 4])
    x = X[:, 0, 0, :4]
    np.testing.assert_allclose(by_predictor(path, x), open_model(path).run(x=x)[0], rtol=1e-4, atol=1e-5)
    again = str(tmp_path / "again")
    save_model(open_model(path), again)
    config = paddle.inference.Config(again + ".json", again + ".pdiparams")
    config.disable_glog_info()
    paddle.inference.create_predictor(config)


def test_what_paddle_cannot_open_is_not_written(tmp_path, monkeypatch):
    model = open_model(saved(tmp_path, nearest))

    def refuse(config: Any) -> None:
        raise RuntimeError("(Unavailable) Cannot read tensor desc size")

    monkeypatch.setattr(paddle.inference, "create_predictor", refuse)
    with pytest.raises(ValueError, match="was not written, since paddle.inference .* cannot open it: .*desc size"):
        save_model(model, str(tmp_path / "out"))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.json", "model.pdiparams"]


def test_what_paddle_opens_only_without_onednn_is_written_with_a_warning(tmp_path, monkeypatch, caplog):
    model, create = open_model(saved(tmp_path, nearest)), paddle.inference.create_predictor

    def refuse(config: Any) -> Any:
        if config.mkldnn_enabled():
            raise RuntimeError("no such layout")
        return create(config)

    monkeypatch.setattr(paddle.inference, "create_predictor", refuse)
    with caplog.at_level(logging.WARNING):
        save_model(model, str(tmp_path / "out"))
    assert "opens the model only without oneDNN (no such layout)" in caplog.text and (tmp_path / "out.json").is_file()


def test_a_cut_off_file_is_named_before_paddle_reads_it(tmp_path):
    path = saved(tmp_path, nearest)
    whole = (tmp_path / "model.pdiparams").read_bytes()
    (tmp_path / "model.pdiparams").write_bytes(whole[:-7])
    with pytest.raises(ValueError, match="model.pdiparams is cut off within tensor"):
        create_predictor(path)


def test_a_program_that_paddle_refuses_is_named(tmp_path):
    path = saved(tmp_path, nearest)
    text = (tmp_path / "model.json").read_text()
    (tmp_path / "model.json").write_text(text.replace("1.nearest_interp", "1.nowhere_interp"))
    with pytest.raises(ValueError, match="model.json with .*model.pdiparams cannot be opened by paddle.inference"):
        create_predictor(path)


def test_leaky_relu_behind_a_convolution_ends_no_process(tmp_path, caplog):
    net = Net(lambda x: F.leaky_relu(nn.BatchNorm2D(4)(nn.Conv2D(3, 4, 3)(x)), 0.1), SHAPE, own_scope=True)
    with paddle.static.scope_guard(net.scope):
        export(net.program, [net.input], [net.output], tmp_path / "m")
    assert (
        "crashes on leaky_relu behind a convolution" in caplog.text
        and "conv_activation_onednn_fuse_pass" in caplog.text
    )
    (expected,) = open_model(tmp_path / "m").run(x=X)
    np.testing.assert_allclose(by_predictor(str(tmp_path / "m"), X), expected, rtol=1e-4, atol=1e-5)
