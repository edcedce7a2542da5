"""Depthwise convolutions of small images become products that give the same, forwards and backwards."""

import numpy as np
import paddle
import pytest
from paddle import nn

from paddle_unstructured.graph import open_graph
from paddle_unstructured.reconstruction.planes import to_products

pytestmark = pytest.mark.usefixtures("static")
PLACE = paddle.CPUPlace()


def trained(layer, shape, *, products):
    """A loss of what a layer gives, with its gradients, and how many tables it was fed."""
    paddle.seed(1)
    program, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, startup):
        x = paddle.static.data("x", [-1, *shape])
        x.stop_gradient = False
        y = layer()(x) + 1.0
    executor = paddle.static.Executor(PLACE)
    executor.run(startup, scope=scope)
    graph = open_graph(program, scope, PLACE)
    params = [graph.persistable(param.name) for param in graph.params()]
    tables = to_products(graph) if products else {}
    with paddle.static.program_guard(program):
        loss = paddle.square(y).mean()
        found = paddle.static.gradients([loss], [*params, x])
    feed = {"x": np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32), **tables}
    return executor.run(program, feed=feed, fetch_list=[loss, y, *found], scope=scope), len(tables)


@pytest.mark.parametrize(
    "words",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": (5, 3), "stride": (1, 2), "padding": [2, 0, 1, 0]},
        {"kernel_size": 3, "dilation": 2, "padding": "SAME"},
        {"kernel_size": (1, 4), "padding": "VALID"},
    ],
)
def test_the_product_is_the_convolution(words):
    def layer():
        return nn.Conv2D(6, 6, groups=6, **words)

    plain, _ = trained(layer, (6, 7, 8), products=False)
    found, tables = trained(layer, (6, 7, 8), products=True)
    assert tables == 1
    for a, b in zip(plain, found):
        assert a.shape == b.shape and np.allclose(a, b, atol=1e-5 * max(np.abs(a).max(), 1.0))


@pytest.mark.parametrize(
    "layer, shape",
    [
        (lambda: nn.Conv2D(6, 6, 3), (6, 7, 8)),
        (lambda: nn.Conv2D(6, 6, 3, groups=2), (6, 7, 8)),
        (lambda: nn.Conv2D(6, 12, 3, groups=6), (6, 7, 8)),
        (lambda: nn.Conv2DTranspose(6, 6, 3, groups=6), (6, 7, 8)),
        (lambda: nn.Conv2D(6, 6, 3, groups=6, data_format="NHWC"), (7, 8, 6)),
        (lambda: nn.Conv2D(6, 6, 3, groups=6), (6, 30, 30)),
        (lambda: nn.Conv2D(200, 200, 3, groups=200, padding=1), (200, 14, 14)),
    ],
    ids=["full", "two groups", "more outputs", "transposed", "channels last", "large", "many channels"],
)
def test_what_is_no_such_layer_stays(layer, shape):
    assert trained(layer, shape, products=True)[1] == 0


def test_an_open_size_stays_a_convolution():
    program = paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, paddle.static.Program()):
        nn.Conv2D(6, 6, 3, groups=6)(paddle.static.data("x", [-1, 6, -1, -1]))
    assert not to_products(open_graph(program, paddle.static.Scope(), PLACE))


def test_what_the_net_returns_stays():
    program = paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, paddle.static.Program()):
        y = nn.Conv2D(6, 6, 3, groups=6, bias_attr=False)(paddle.static.data("x", [-1, 6, 7, 8]))
    graph = open_graph(program, paddle.static.Scope(), PLACE)
    assert not to_products(graph, keep=[y]) and len(to_products(graph)) == 1
