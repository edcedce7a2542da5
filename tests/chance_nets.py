# SPDX-License-Identifier: Apache-2.0
"""Convolutional nets of random blocks; every kind of block comes up in some seed."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn


def chance(seed: int) -> Callable[[Any], Any]:
    """A net of random blocks; every kind of block comes up in some seed."""

    def layers(x: Any) -> Any:
        rng = np.random.default_rng(seed)
        for _ in range(6):
            x = BLOCKS[rng.integers(len(BLOCKS))](x, rng)
        x = x.mean([2, 3]) if rng.random() < 0.5 else nn.AdaptiveAvgPool2D(2)(x).flatten(1)
        x = F.relu(nn.Linear(x.shape[1], 6)(x))
        return nn.Linear(6, 3)(x)

    return layers


def conv(x: Any, rng: Any, out: int | None = None) -> Any:
    kernel = int(rng.choice([1, 3]))
    x = nn.Conv2D(
        x.shape[1],
        out or int(rng.integers(4, 10)),
        kernel,
        padding=kernel // 2,
        bias_attr=None if rng.random() < 0.5 else False,
    )(x)
    return activation(nn.BatchNorm2D(x.shape[1])(x) if rng.random() < 0.5 else x, rng)


def activation(x: Any, rng: Any) -> Any:
    kinds = [
        F.relu,
        F.relu6,
        F.hardswish,
        F.sigmoid,
        F.gelu,
        nn.PReLU(x.shape[1]),
        lambda x: F.leaky_relu(x, 0.2),
        lambda x: 2 * x - 0.5,
    ]
    return kinds[rng.integers(len(kinds))](x)


def addition(x: Any, rng: Any) -> Any:
    return x + conv(conv(x, rng), rng, x.shape[1])


def gated(x: Any, rng: Any) -> Any:
    return x * F.sigmoid(nn.Conv2D(x.shape[1], x.shape[1], 1)(x.mean([2, 3], keepdim=True)))


def concatenation(x: Any, rng: Any) -> Any:
    return paddle.concat([conv(x, rng), x, conv(x, rng)][: int(rng.integers(2, 4))], axis=1)


def parts(x: Any, rng: Any) -> Any:
    first = int(rng.integers(1, x.shape[1]))
    a, b = paddle.split(conv(x, rng, x.shape[1]), [first, x.shape[1] - first], 1)
    return paddle.concat([b, activation(a, rng)], axis=1)


def depthwise(x: Any, rng: Any) -> Any:
    padding = int(rng.integers(2))
    return activation(
        nn.Conv2D(
            x.shape[1], x.shape[1] * int(rng.integers(1, 3)), 2 * padding + 1, padding=padding, groups=x.shape[1]
        )(x),
        rng,
    )


def spatial(x: Any, rng: Any) -> Any:
    kinds = [
        nn.MaxPool2D(3, 1, 1),
        nn.AvgPool2D(3, 1, 1),
        nn.AvgPool2D(3, 1, 1, exclusive=False),
        nn.Pad2D(1),
        nn.Upsample(scale_factor=2),
        lambda x: x.transpose([0, 1, 3, 2]),
        nn.InstanceNorm2D(x.shape[1]),
    ]
    return kinds[rng.integers(len(kinds))](x)


BLOCKS = [conv, addition, gated, concatenation, parts, depthwise, spatial]
