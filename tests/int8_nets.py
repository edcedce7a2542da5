# SPDX-License-Identifier: Apache-2.0
"""Nets with everything that int8 covers, saved with weights that are zero in blocks of 4 inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle
import paddle.nn as nn
import paddle.nn.functional as F
from runtime_nets import save_net


def norm_conv(x, inputs, outputs, kernel=1, stride=1, groups=1, act=F.relu):
    x = nn.Conv2D(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias_attr=False)(x)
    return act(nn.BatchNorm2D(outputs)(x))


def mobile(x):
    """ReLU6, hard-swish, squeeze and excite, strides, 3x3 and 5x5 filters per channel; all in int8."""
    x = norm_conv(x, 3, 16, 3, 2, act=F.relu6)
    x = norm_conv(norm_conv(x, 16, 16, 3, 1, 16, F.relu6), 16, 32, act=F.hardswish)
    x = norm_conv(x, 32, 32, 5, 2, 32, F.hardswish)
    gate = nn.Conv2D(32, 8, 1)(F.adaptive_avg_pool2d(x, 1))
    gate = F.hardsigmoid(nn.Conv2D(8, 32, 1)(F.relu(gate)))
    x = norm_conv(gate * x, 32, 40, act=lambda y: y)
    return nn.Linear(40, 10)(F.adaptive_avg_pool2d(norm_conv(x, 40, 40, act=F.hardswish), 1).flatten(1))


def residual(x):
    """Residual sums with and without ReLU, max pooling, 3x3 convolutions; all in int8."""
    x = F.max_pool2d(norm_conv(x, 3, 16, 7, 2), 3, 2, 1)
    x = F.relu(norm_conv(norm_conv(x, 16, 16, 3), 16, 16, 3, act=lambda y: y) + x)
    skip = norm_conv(x, 16, 32, 1, 2, act=lambda y: y)
    x = norm_conv(norm_conv(x, 16, 32, 3, 2), 32, 32, 3, act=lambda y: y) + skip
    return nn.Linear(32, 10)(F.adaptive_avg_pool2d(F.relu(x), 1).flatten(1))


def odd(x):
    """Odd channels, a concatenation that others read too, groups, a norm alone, mean pooling, softmax in float32."""
    x = norm_conv(x, 3, 13, 3, act=F.swish)
    y = paddle.concat([x, norm_conv(x, 13, 6, 1), F.max_pool2d(x, 3, 1, 1)], 1)
    y = F.relu(nn.BatchNorm2D(32)(y)) * 0.5
    y = nn.Conv2D(32, 20, 3, 2, 1, groups=4)(y)
    y = F.leaky_relu(F.avg_pool2d(y, 2, 2, 1), 0.1)
    y = F.sigmoid(nn.Conv2D(20, 11, 1)(y)) * nn.Conv2D(20, 11, 1)(y)
    y = nn.Linear(11 * 5 * 5, 17)(y.flatten(1))
    return F.softmax(nn.Linear(17, 10)(F.gelu(y)))


NETS: dict[str, Callable[[Any], Any]] = {"mobile": mobile, "residual": residual, "odd": odd}
SHAPE = [-1, 3, 16, 16]


def images(count: int, seed: int = 0) -> np.ndarray:
    """Smooth images of different brightness, so that a random net tells them apart."""
    random = np.random.default_rng(seed)
    coarse = random.normal(size=(count, 3, 4, 4)) * 2
    return (np.kron(coarse, np.ones((4, 4))) + 0.3 * random.normal(size=(count, 3, 16, 16))).astype("float32")


def saved(folder: Path, net: str, *, sparsity: float = 0.0, seed: int = 0) -> str:
    """The prefix of a saved net of `NETS`."""
    folder.mkdir(exist_ok=True)
    return save_net(folder, NETS[net], SHAPE, sparsity=sparsity, seed=seed)
