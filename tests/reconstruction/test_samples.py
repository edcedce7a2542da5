# SPDX-License-Identifier: Apache-2.0
"""Inputs whose first axis counts something else than samples."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle.static import InputSpec

from paddle_unstructured import reconstruct

NODES = 12


class Graph(paddle.nn.Layer):
    """A graph convolution: x [nodes, 4], neighbours [nodes, nodes]."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = paddle.nn.Linear(4, 8)

    def forward(self, x, neighbours):
        return neighbours @ self.linear(x)


class Alone(Graph):
    """Each row by itself."""

    def forward(self, x, neighbours):
        return self.linear(x) + neighbours.sum(1, keepdim=True)


class Mixed(Graph):
    """Each row less the mean of all rows."""

    def forward(self, x, neighbours):
        return self.linear(x) - x.mean(0, keepdim=True).sum() + neighbours.sum(1, keepdim=True)


def graphs(count: int) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    shapes = {"x": [NODES, 4], "neighbours": [NODES, NODES]}
    return [{name: random.normal(size=shape).astype("float32") for name, shape in shapes.items()} for _ in range(count)]


def spec(nodes: int | None) -> list[InputSpec]:
    return [InputSpec([nodes, 4], name="x"), InputSpec([nodes, nodes], name="neighbours")]


def test_the_nodes_of_a_graph_are_no_samples():
    paddle.disable_static()
    with pytest.raises(ValueError, match=r"fails on two of them, x \[2, 4\].* matmul.*the nodes of a graph"):
        reconstruct(Graph(), graphs(8), ratio=0.5, steps=0, input_spec=spec(None))


@pytest.mark.parametrize("net, warns", [(Alone, False), (Mixed, True)])
def test_samples_that_depend_on_each_other_are_warned_of(caplog, net, warns):
    paddle.disable_static()
    reconstruct(net(), graphs(8), ratio=0.5, steps=0, input_spec=spec(None))
    assert ("answers to a sample depend on the others of its batch" in caplog.text) == warns


def test_a_net_of_fixed_sizes_takes_a_graph_as_a_batch():
    paddle.disable_static()
    done = reconstruct(Graph(), graphs(8), ratio=0.5, steps=0, input_spec=spec(NODES))
    assert done.pruner.params[0].size == 32 and done.pruner.target == 0.5
