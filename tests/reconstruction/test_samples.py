# SPDX-License-Identifier: Apache-2.0
"""Inputs whose first axis counts something else than samples."""

from __future__ import annotations

import re

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
    with pytest.raises(
        ValueError, match=r"fails on two of them, x \[2, 4\].* (Input.Y. has error dim|matmul).*the nodes of a graph"
    ):
        reconstruct(Graph(), graphs(8), ratio=0.5, steps=0, input_spec=spec(None))


def test_graphs_of_several_sizes_are_batches_where_only_one_axis_is_open():
    """Edges as [2, edges]: what they count is no sample, so that every graph is a batch."""
    paddle.disable_static()

    class Edges(Graph):
        def forward(self, x, edges):
            hidden = self.linear(x)
            return hidden + paddle.scatter_nd_add(hidden, edges[1].unsqueeze(1), hidden[edges[0]])

    random = np.random.default_rng(0)
    nodes = [5, 9, 5, 7, 11, 6, 8, 4]
    made = [
        {"x": random.normal(size=(n, 4)).astype("float32"), "edges": random.integers(0, n, (2, 3 * n))} for n in nodes
    ]
    both = [InputSpec([None, 4], name="x"), InputSpec([2, None], "int64", name="edges")]
    assert reconstruct(Edges(), made, ratio=0.5, steps=2, input_spec=both).error < 1
    made[-1] = {**made[-1], "edges": made[-1]["edges"] + 4}
    with pytest.raises(
        ValueError, match=r"`data` must be inputs that the net can run on, but it fails on x \[4, 4\], "
    ):
        reconstruct(Edges(), made, ratio=0.5, steps=2, input_spec=both)


class Words(paddle.nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.linear = paddle.nn.Embedding(10, 4), paddle.nn.Linear(4, 3)

    def forward(self, ids, scale=None):
        return self.linear(self.table(ids).mean(1)) * (1.0 if scale is None else scale)


@pytest.mark.parametrize(
    "several, message", [(False, r"it fails on ids \[\d, 6\]: .*< 10"), (True, r"fails on two of them, ids .*< 10")]
)
def test_words_that_the_net_does_not_know_are_named_so(several, message):
    paddle.disable_static()
    ids = np.random.default_rng(0).integers(8, 20, (16, 6))
    data = [{"ids": ids, **({"scale": np.ones((16, 1), "float32")} if several else {})}]
    spec = [InputSpec([None, 6], "int64", "ids"), *([InputSpec([None, 1], "float32", "scale")] if several else [])]
    with pytest.raises(ValueError, match=message):
        reconstruct(Words(), data, ratio=0.5, steps=0, input_spec=spec)


@pytest.mark.parametrize("value", [1.5, np.nan, 1e30, -np.inf])
def test_whole_numbers_are_not_made_of_others(value):
    paddle.disable_static()
    ids = np.full((16, 6), 3.0)
    spec = [InputSpec([None, 6], "int64", "ids")]
    reconstruct(Words(), [{"ids": ids}], ratio=0.5, steps=0, input_spec=spec)
    ids[3, 3] = value
    with pytest.raises(ValueError, match=rf"must give ids as int64, which cannot hold {re.escape(str(value))}, one"):
        reconstruct(Words(), [{"ids": ids}], ratio=0.5, steps=0, input_spec=spec)


@pytest.mark.parametrize("net, warns", [(Alone, False), (Mixed, True)])
def test_samples_that_depend_on_each_other_are_warned_of(caplog, net, warns):
    paddle.disable_static()
    reconstruct(net(), graphs(8), ratio=0.5, steps=0, input_spec=spec(None))
    assert ("answers to a sample depend on the others of its batch" in caplog.text) == warns


def test_a_net_of_fixed_sizes_takes_a_graph_as_a_batch():
    paddle.disable_static()
    done = reconstruct(Graph(), graphs(8), ratio=0.5, steps=0, input_spec=spec(NODES))
    assert done.pruner.params[0].size == 32 and done.pruner.target == 0.5
