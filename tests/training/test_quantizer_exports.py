# SPDX-License-Identifier: Apache-2.0
"""What a net that was trained with few bits becomes: files that Paddle's Predictor and a Session run as it computed."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import paddle
import pytest
from nets import new_programs
from paddle import nn

from paddle_unstructured import AffineQuantizer, FunctionQuantizer, quantize_aware, test_program
from paddle_unstructured.export import open_model
from paddle_unstructured.runtime import Int8, Session, convert


def images(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(8, 3, 6)).astype("float32")


def net() -> nn.Layer:
    paddle.seed(5)
    return nn.Sequential(
        nn.Conv1D(3, 16, 3), nn.ReLU(), nn.Conv1D(16, 16, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)
    )


def as_program(config: Any, path: Any, x: np.ndarray) -> np.ndarray:
    """Trains three steps, exports the training Program; what the test Program gives for x."""
    with new_programs() as (main, startup):
        data = paddle.static.data("x", [-1, 3, 6])
        output = net()(data)
        test, (answer,) = test_program(main, [output])
        aware = quantize_aware(main, config)
        quantize_aware(test, config, training=False)
        loss = (output**2).mean()
        paddle.optimizer.SGD(0.05).minimize(loss)
        exe = paddle.static.Executor()
        exe.run(startup)
        for seed in range(3):
            exe.run(main, feed={"x": images(seed)}, fetch_list=[loss])
        (expected,) = exe.run(test, feed={"x": x}, fetch_list=[answer])
        aware.export([data], [output], path)
        return expected


def as_layer(config: Any, path: Any, x: np.ndarray) -> np.ndarray:
    with paddle.utils.unique_name.guard():
        model = net()
    aware = quantize_aware(model, config)
    optimizer = paddle.optimizer.SGD(0.05, parameters=model.parameters())
    for seed in range(3):
        (model(paddle.to_tensor(images(seed))) ** 2).mean().backward()
        optimizer.step()
        optimizer.clear_grad()
    model.eval()
    expected = model(paddle.to_tensor(x)).numpy()
    aware.export([paddle.static.InputSpec([None, 3, 6], name="x")], path)
    return expected


DOORS: list[Callable[[Any, Any, np.ndarray], np.ndarray]] = [as_program, as_layer]
PARTS = {
    "a gradient of one's own": [{"quantizer": FunctionQuantizer(input=paddle.round, backward=lambda x, dy: 0.5 * dy)}],
    "4 bits": [{"quant_bits": 4}],
    "3 bits of weights and inputs": [{"quant_types": ["weight", "input"], "quant_bits": 3}],
    "outputs": [{"quant_types": ["output"], "quant_bits": 5}],
    "symmetric": [
        {"quant_types": ["weight", "input"], "quant_bits": 5, "quantizer": AffineQuantizer(symmetric_activations=True)}
    ],
}


@pytest.mark.parametrize("config", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("door", DOORS)
def test_ranges_of_few_bits_are_constants_of_a_model_that_every_engine_runs(door, config, tmp_path):
    x = 3.0 * images(9)  # beyond the ranges: they must not follow
    expected = door(config, tmp_path / "m", x)
    text = (tmp_path / "m.json").read_text()
    assert not [word for word in ("fake_quantize", "_range", "pylayer", "share_data") if word in text]
    paddle.enable_static()
    try:
        (found,) = open_model(tmp_path / "m").run(x=x)
        convert(tmp_path / "m", tmp_path / "fast")
    finally:
        paddle.disable_static()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(Session(tmp_path / "fast").run(x)[0], expected, rtol=1e-4, atol=1e-5)


def test_learned_ranges_alone_convert_convolutions_over_time(tmp_path, static):
    x = images(9)
    expected = as_program(None, tmp_path / "m", x)
    paddle.enable_static()
    result = convert(tmp_path / "m", tmp_path / "fast", int8=Int8(ranges=tmp_path / "m.ranges.json"))
    assert result.converted
    (found,) = Session(tmp_path / "fast").run(x)
    assert np.linalg.norm(found - expected) < 0.02 * np.linalg.norm(expected)


def test_a_layer_that_nothing_calls_is_named_with_the_way_out(tmp_path):
    class Spare(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            return self.used(x)

    model = Spare()
    aware = quantize_aware(model)
    model(paddle.ones([2, 4]))
    with pytest.raises(ValueError, match=r"spare.weight has seen no batch yet; .*name its weight in `skip`"):
        aware.ranges()
