# SPDX-License-Identifier: Apache-2.0
"""Nets that the runtime takes in parts."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

SHAPE = [-1, 3, 16, 16]


def unknown(x):
    """An op whose kernel the tests take away."""
    return paddle.cumsum(x, 1)


def middle(x):
    x = F.relu(nn.BatchNorm2D(8)(nn.Conv2D(3, 8, 3, padding=1)(x)))
    x = unknown(x * 0.1)
    x = F.relu(nn.Conv2D(8, 12, 3, stride=2)(x))
    return nn.Linear(12, 5)(F.adaptive_avg_pool2d(x, 1).flatten(1))


def two_ways(x):
    """The first convolution reaches the last one around the unknown op, and through it."""
    x = F.relu(nn.Conv2D(3, 8, 3, padding=1)(x))
    y = F.relu(nn.Conv2D(8, 8, 1)(x))
    z = nn.Conv2D(8, 8, 1)(unknown(y))
    return nn.Conv2D(8, 4, 1)(x + z), y


def at_the_end(x):
    x = nn.Conv2D(8, 4, 1)(F.relu(nn.Conv2D(3, 8, 3)(x)))
    return paddle.topk(x.flatten(1), 3)[0], unknown(x)


def image(batch=2, seed=0, size=16):
    return np.random.default_rng(seed).normal(size=(batch, 3, size, size)).astype("float32")
