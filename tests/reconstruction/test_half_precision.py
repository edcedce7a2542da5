# SPDX-License-Identifier: Apache-2.0
"""Weights in bfloat16 and float64 are found anew as those in float32 are, and keep their type."""

import numpy as np
import paddle
import pytest
from paddle import nn

from paddle_unstructured import reconstruct
from paddle_unstructured.reconstruction.layers import solvable
from paddle_unstructured.reconstruction.worth import worth_of
from paddle_unstructured.saved_model import open_model


class Mixed(nn.Layer):
    def __init__(self, dtype):
        super().__init__()
        self.first, self.last, self.dtype = nn.Linear(12, 24), nn.Linear(24, 5), dtype
        self.first.to(dtype=dtype)

    def forward(self, x):
        return self.last(nn.functional.relu(self.first(x.astype(self.dtype)).astype("float32")))


def data(seed, count):
    random = np.random.default_rng(seed)
    pairs = np.repeat(random.normal(size=(count, 6)), 2, -1)
    return (pairs + 0.2 * random.normal(size=(count, 12))).astype(np.float32)


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_weights_of_another_type_are_found_anew(tmp_path, dtype):
    paddle.seed(0)
    paddle.jit.save(Mixed(dtype), str(tmp_path / "m"), input_spec=[paddle.static.InputSpec([None, 12], "float32", "x")])
    errors = []
    paddle.enable_static()
    try:
        for words in ({"method": "magnitude"}, {"steps": 0}):
            model = open_model(tmp_path / "m")
            (expected,) = model.run(x=data(1, 200))
            done = reconstruct(model, [{"x": data(0, 64)}], ratio=0.5, **words)
            errors.append(np.linalg.norm(model.run(x=data(1, 200))[0] - expected))
            weight = next(p for p in model.graph.params() if p.shape == (12, 24))
            assert weight.dtype == dtype and not model.graph.array(weight.name)[~model.graph.mask(weight)].any()
        assert done.refused is None and errors[1] < 0.6 * errors[0]
    finally:
        paddle.disable_static()


def test_outputs_of_a_net_that_answers_in_bfloat16_are_worth_what_they_are_in_float32(tmp_path):
    class Whole(Mixed):
        def forward(self, x):
            return self.last(nn.functional.relu(self.first(x.astype(self.dtype))))

    found = []
    for dtype in ("float32", "bfloat16"):
        paddle.seed(0)
        net, spec = Whole(dtype), [paddle.static.InputSpec([None, 12], "float32", "x")]
        net.to(dtype=dtype)
        paddle.jit.save(net, str(tmp_path / dtype), input_spec=spec)
        paddle.enable_static()
        try:
            model = open_model(tmp_path / dtype)
            param = next(p for p in model.graph.params() if p.shape == (12, 24))
            worth = worth_of(model, [solvable(model.graph, param)], [{"x": data(0, 256)}], seed=0)
        finally:
            paddle.disable_static()
        found.append(worth[param.name].outputs)
    assert np.corrcoef(*found)[0, 1] > 0.95
