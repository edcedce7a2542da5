# SPDX-License-Identifier: Apache-2.0
"""Number by number, reductions and pools, against Paddle."""

from __future__ import annotations

import paddle
import pytest
from paddle.nn import functional
from runtime_nets import assert_like_paddle

from paddle_unstructured.runtime.refusals import Refusal

pytestmark = pytest.mark.usefixtures("static")
OPEN = [-1, 6, -1, -1]
ACTIVATIONS = ["elu", "celu", "selu", "mish", "softplus", "softsign", "log_sigmoid", "hardtanh", "hardshrink"]
ACTIVATIONS += ["softshrink", "thresholded_relu", "relu6", "silu"]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_paddles(tmp_path, name):
    assert_like_paddle(tmp_path, getattr(functional, name), OPEN)


@pytest.mark.parametrize("name", ["abs", "square", "sin", "cos", "floor", "ceil", "sign", "exp"])
def test_functions_are_paddles(tmp_path, name):
    assert_like_paddle(tmp_path, getattr(paddle, name), OPEN)


@pytest.mark.parametrize("name", ["sqrt", "rsqrt", "log", "reciprocal"])
def test_functions_of_positive_numbers_are_paddles(tmp_path, name):
    assert_like_paddle(tmp_path, lambda x: getattr(paddle, name)(paddle.square(x) + 0.1), OPEN)


@pytest.mark.parametrize("name", ["round", "trunc", "sign", "floor"])
def test_functions_of_constants_are_paddles(tmp_path, name):
    """A rounding in a range that stands still computes with such."""
    assert_like_paddle(tmp_path, lambda x: x / getattr(paddle, name)(paddle.full([1], -2.5)), OPEN)


def test_rounding_to_decimals_is_refused(tmp_path):
    with pytest.raises(Refusal, match="round: it rounds to decimals"):
        assert_like_paddle(tmp_path, lambda x: paddle.round(x, 1), OPEN)


NETS = {
    "product of maps": lambda x: x * x.mean(axis=1, keepdim=True),
    "squeeze and excite": lambda x: x * functional.sigmoid(functional.adaptive_avg_pool2d(x, 1)),
    "rows and columns": lambda x: x.mean(axis=2, keepdim=True) + x.mean(axis=3, keepdim=True),
    "difference": lambda x: x - x.mean(axis=[1, 2, 3], keepdim=True),
    "quotient": lambda x: x / (x.abs().max(axis=1, keepdim=True) + 1.0),
    "maximum": lambda x: paddle.maximum(x, paddle.minimum(-x, x * 0.5)),
    "against numbers": lambda x: 1.0 / (2.0 - paddle.maximum(x, paddle.full([1], 0.25)).clip(max=1.0)),
    "power": lambda x: (x.abs() + 0.5) ** 1.5,
    "sum of rows": lambda x: x.sum(axis=3, keepdim=True) * x,
    "minimum of all": lambda x: x - x.min(axis=[1, 2, 3], keepdim=True),
    "spatial attention": lambda x: paddle.concat([x.mean(1, keepdim=True), x.max(1, keepdim=True)], 1),
    "prelu": lambda x: paddle.nn.PReLU(6)(x),
    "softmax of channels": lambda x: functional.softmax(x, axis=1),
    "log softmax of channels": lambda x: functional.log_softmax(x, axis=1),
    "softmax of rows": lambda x: functional.softmax(x, axis=-1),
    "softmax of columns": lambda x: functional.softmax(x, axis=2),
    "truth of numbers": lambda x: (x * 2).astype("int32").astype("bool").astype("float32") * x,
    "choices by numbers": lambda x: paddle.logical_or(x.round(), -x.round()).astype("float32") - x,
    "not of numbers": lambda x: paddle.logical_not(x.round()).astype("float32") * x,
    "either or": lambda x: paddle.logical_xor(x > 0, x > 0.5).astype("float32") * x,
    "whole quotients": lambda x: (paddle.argmax(x, axis=1) * 7 // 3).astype("float32"),
    "quotients that come out even": lambda x: (paddle.argmax(x, axis=1) * 49 // 49).astype("float32"),
    "remainders": lambda x: (paddle.argmax(x, axis=1) * 7 % 4 - paddle.argmax(x, axis=1) % -3).astype("float32"),
    "any": lambda x: (x > 1).any(axis=1, keepdim=True).astype("float32") * x,
    "all": lambda x: x * (x > -1).all(axis=[2, 3], keepdim=True).astype("float32"),
    "argmax": lambda x: paddle.argmax(x, axis=1, keepdim=True).astype("float32"),
    "argmin of rows": lambda x: paddle.argmin(x, axis=3, keepdim=True).astype("float32"),
    "odd pool": lambda x: functional.adaptive_avg_pool2d(x, [3, 4]),
    "odd maximum": lambda x: functional.adaptive_max_pool2d(x, [5, 2]),
    "times itself, transposed": lambda x: x.mean(3).unsqueeze(2) * x.mean(3).unsqueeze(1),
    "distances": lambda x: x.flatten(2).unsqueeze(2) - x.flatten(2).unsqueeze(3),
    "plus itself, transposed": lambda x: (lambda y: y + y.transpose([0, 2, 1]))(x.flatten(2) @ x.flatten(2).mT),
    "per channel": lambda x: x * paddle.create_parameter([6, 1, 1], "float32") - 1.0,
    "per row": lambda x: x + paddle.create_parameter([9], "float32"),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("fixed", [True, False], ids=["fixed", "open"])
def test_arithmetic_is_paddles(tmp_path, name, fixed):
    shape = [-1, 6, 7, 9] if fixed or name == "per row" else OPEN
    assert_like_paddle(tmp_path, NETS[name], shape, [2, 6, 7, 9])
