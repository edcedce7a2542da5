# SPDX-License-Identifier: Apache-2.0
"""A convolutional net of a few thousand weights, saved as an inference model, and data of it."""

import numpy as np
import paddle
from paddle import nn

from paddle_unstructured.saved_model import open_model


def data(count=64, size=8):
    random = np.random.default_rng(0)
    coarse = np.kron(random.normal(size=(count, 3, 2, 2)), np.ones((size // 2, size // 2)))
    images = (coarse + 0.3 * random.normal(size=(count, 3, size, size))).astype(np.float32)
    return [{"x": images[i : i + 32]} for i in range(0, count, 32)]


def convnet(x):
    """Weights 3*16*9 = 432, 16*32 = 512, a depthwise one of 288, 32*48 = 1536 and 48*8 = 384."""
    for outputs, kernel, groups in ((16, 3, 1), (32, 1, 1), (32, 3, 32), (48, 1, 1)):
        conv = nn.Conv2D(x.shape[1], outputs, kernel, padding=kernel // 2, groups=groups)
        x = nn.functional.relu(conv(x))
    return nn.Linear(48, 8)(x.mean([2, 3]))


def saved(folder, build=convnet, size=8):
    program, startup = paddle.static.Program(), paddle.static.Program()
    paddle.seed(0)
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, startup):
        x = paddle.static.data("x", [-1, 3, size, size])
        y = build(x)
    executor = paddle.static.Executor(paddle.CPUPlace())
    executor.run(startup)
    paddle.static.save_inference_model(str(folder / "m"), [x], [y], executor, program=program)
    return open_model(folder / "m")


def of_model(model):
    return {name: model.graph.stored(name) for name in sorted(model.param_names)}
