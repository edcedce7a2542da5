# SPDX-License-Identifier: Apache-2.0
"""Small nets that are built alike as an nn.Layer and as a static Program, and steps to train the former."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
from paddle import nn


class Convnet(nn.Layer):
    """[n, 4, 6, 6] -> 3x3 conv, batch norm, 1x1 conv, linear [8, 12]."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2D(4, 6, 3)
        self.norm = nn.BatchNorm2D(6)
        self.point = nn.Conv2D(6, 8, 1)
        self.head = nn.Linear(8, 12)

    def forward(self, x):
        x = nn.functional.relu(self.norm(self.first(x)))
        x = nn.functional.relu(self.point(x)).mean([2, 3])
        return self.head(x)


WEIGHTS = ["first.weight", "point.weight", "head.weight"]


class Mixed(nn.Layer):
    """Every kind of layer whose weights are pruned, [n, 4, 8, 8] and ids [n, 5]."""

    def __init__(self):
        super().__init__()
        self.depthwise = nn.Conv2D(4, 4, 3, groups=4)
        self.grouped = nn.Conv2D(4, 8, 3, groups=2)
        self.up = nn.Conv2DTranspose(8, 4, 2)
        self.up_grouped = nn.Conv2DTranspose(4, 6, 2, groups=2)
        self.line = nn.Conv1D(6, 4, 3)
        self.norm = nn.GroupNorm(2, 4)
        self.slope = nn.PReLU(4)
        self.table = nn.Embedding(11, 6)
        self.recurrent = nn.LSTM(6, 4, num_layers=2, direction="bidirect")
        self.attention = nn.MultiHeadAttention(8, 2)
        self.last = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)

    def forward(self, x, ids):
        x = self.up_grouped(self.up(self.grouped(self.depthwise(x))))
        x = self.slope(self.norm(self.line(x.flatten(2))))
        y, _ = self.recurrent(self.table(ids))
        y = self.last(self.attention(y))
        return self.head(y).mean([1]) + x.mean([1, 2]).unsqueeze(1)


class Odd(nn.Layer):
    """A weight of its own, a tied one, and a layer that computes its weight anew, [n, 6]."""

    def __init__(self):
        super().__init__()
        self.own = self.create_parameter([6, 8])
        self.square = nn.Linear(8, 8)
        self.again = nn.Linear(8, 8)
        self.again.weight = self.square.weight
        self.standardised = Standardised(8, 4)

    def forward(self, x):
        return self.standardised(self.again(self.square(x.matmul(self.own))))


class Standardised(nn.Linear):
    def forward(self, x):
        return nn.functional.linear(x, self.weight - self.weight.mean(), self.bias)


def train(model: nn.Layer, optimizer: Any, pruner: Any, steps: int = 1, shape: Any = (5, 4, 6, 6)) -> None:
    """Steps on random data; what step t of a pruner sees is the same in every model."""
    for _ in range(steps):
        data = np.random.default_rng(pruner.steps).normal(size=shape).astype("float32")
        loss = ((model(paddle.to_tensor(data)) - 1.0) ** 2).mean()
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        pruner.step()


def made(kind: Any = Convnet, seed: int = 1) -> Any:
    paddle.seed(seed)
    with paddle.utils.unique_name.guard():
        return kind()


def zeros(model: nn.Layer, names: Any = WEIGHTS) -> int:
    state = model.state_dict()
    return sum(int((state[name] == 0).sum()) for name in names)
