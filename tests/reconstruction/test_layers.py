# SPDX-License-Identifier: Apache-2.0
"""A layer as matrices: rows x weight must be what Paddle computes, for every kind of convolution and product."""

import numpy as np
import paddle
import pytest
from paddle import nn

from paddle_unstructured.graph import open_graph
from paddle_unstructured.reconstruction.layers import POSITIONS, solvable

pytestmark = pytest.mark.usefixtures("static")
EXECUTOR = paddle.static.Executor(paddle.CPUPlace())


def built(shape, build):
    """A Program of one layer: graph, its weight's param, the input's name, the output."""
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, startup):
        x = paddle.static.data("x", shape)
        y = build(x)
    EXECUTOR.run(startup)
    graph = open_graph(program)
    return graph, next(p for p in graph.params() if p.is_weight), y


def paddle_says(graph, y, x):
    return EXECUTOR.run(graph.program, feed={"x": x}, fetch_list=[y])[0]


def conv(**words):
    return lambda x: nn.Conv2D(4, 6, bias_attr=False, **words)(x)


CONVS = {
    "1x1": {"kernel_size": 1},
    "3x3 padded": {"kernel_size": 3, "padding": 1},
    "3x3 uneven": {"kernel_size": 3, "padding": [1, 0, 2, 1], "stride": (2, 1)},
    "5x3 dilated": {"kernel_size": (5, 3), "dilation": (1, 2), "padding": (2, 1)},
    "SAME stride 2": {"kernel_size": 3, "padding": "SAME", "stride": 2},
    "VALID": {"kernel_size": 3, "padding": "VALID"},
    "grouped": {"kernel_size": 3, "groups": 2, "padding": 1},
}


@pytest.mark.parametrize("words", CONVS.values(), ids=CONVS)
@pytest.mark.parametrize("size", [(7, 8), (9, 6)])
def test_rows_times_matrix_is_what_a_convolution_gives(words, size):
    graph, param, y = built([-1, 4, *size], conv(**words))
    x = np.random.default_rng(0).normal(size=(3, 4, *size)).astype(np.float32)
    check(graph, param, y, x)


TRANSPOSED = {
    "stride 2": {"kernel_size": 3, "stride": 2, "padding": 1},
    "output padding": {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
    "uneven, dilated": {"kernel_size": (3, 2), "stride": (1, 3), "dilation": (2, 1), "padding": [1, 0, 2, 1]},
    "more padding than kernel": {"kernel_size": 2, "padding": 2},
    "grouped": {"kernel_size": 4, "stride": 2, "groups": 2, "padding": 1},
    "depthwise": {"kernel_size": 3, "stride": 2, "groups": 4},
}


@pytest.mark.parametrize("words", TRANSPOSED.values(), ids=TRANSPOSED)
@pytest.mark.parametrize("size", [(5, 6), (-1, -1)])
def test_rows_times_matrix_is_what_a_transposed_convolution_gives(words, size):
    outputs = 4 if words.get("groups") == 4 else 6
    graph, param, y = built([-1, 4, *size], lambda x: nn.Conv2DTranspose(4, outputs, bias_attr=False, **words)(x))
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
    check(graph, param, y, x)


def check(graph, param, y, x):
    """rows x matrix is what Paddle says, at every position, and `stored` is the way back."""
    layer, weight = solvable(graph, param), graph.array(param.name)
    expected = paddle_says(graph, y, x)
    assert layer.output_size(x.shape) == expected.shape[2:]
    places = np.tile(np.arange(expected[0, 0].size), (len(x), 1))
    found = layer.rows(x, places) @ layer.matrix(weight).transpose(0, 2, 1)  # [groups, rows, outputs]
    found = found.reshape(param.groups, len(x), -1, expected.shape[1] // param.groups).transpose(1, 0, 3, 2)
    assert np.allclose(found.reshape(expected.shape), expected, atol=1e-4)
    assert np.array_equal(layer.stored(layer.matrix(weight)), weight)


@pytest.mark.parametrize(
    "build, shape",
    [
        (lambda x: nn.Conv3D(2, 4, (2, 3, 2), stride=(1, 2, 1), padding=1, bias_attr=False)(x), (2, 2, 4, 5, 3)),
        (lambda x: nn.Conv3D(4, 4, 3, groups=2, padding="SAME", bias_attr=False)(x), (2, 4, 3, 4, 3)),
        (lambda x: nn.Conv3DTranspose(2, 4, 3, stride=2, padding=1, bias_attr=False)(x), (2, 2, 3, 3, 2)),
    ],
    ids=["conv3d", "grouped", "transposed"],
)
def test_rows_times_matrix_is_what_a_convolution_in_three_dimensions_gives(build, shape):
    graph, param, y = built([-1, *shape[1:]], build)
    check(graph, param, y, np.random.default_rng(0).normal(size=shape).astype(np.float32))


def test_a_depthwise_convolution_has_a_group_for_each_channel():
    graph, param, y = built([-1, 4, 6, 6], lambda x: nn.Conv2D(4, 8, 3, groups=4, bias_attr=False)(x))
    layer = solvable(graph, param)
    assert layer.matrix(graph.array(param.name)).shape == (4, 2, 9)


@pytest.mark.parametrize("shape", [(5, 8), (2, 7, 8), (2, 3, 4, 8)])
def test_rows_times_matrix_is_what_a_linear_layer_gives(shape):
    graph, param, y = built([-1, *shape[1:]], lambda x: nn.Linear(8, 3, bias_attr=False)(x))
    layer = solvable(graph, param)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = layer.rows(x, layer.places(x.shape, None)) @ layer.matrix(graph.array(param.name)).transpose(0, 2, 1)
    assert np.allclose(found[0].reshape(*shape[:-1], 3), paddle_says(graph, y, x), atol=1e-5)


@pytest.mark.parametrize("build", [conv(kernel_size=3), lambda x: nn.Linear(9, 3)(x.flatten(1)[:, :9])])
def test_stored_is_the_way_back_from_matrix(build):
    graph, param, _ = built([-1, 4, 9, 9], build)
    layer = solvable(graph, param)
    weight = graph.array(param.name)
    assert np.array_equal(layer.stored(layer.matrix(weight)), weight)


def test_large_planes_give_some_rows_small_ones_all_of_them():
    graph, param, _ = built([-1, 4, -1, -1], conv(kernel_size=1))
    layer, random = solvable(graph, param), np.random.default_rng(0)
    assert layer.places((2, 4, 5, 5), random).tolist() == [list(range(25))] * 2
    many = layer.places((2, 4, 40, 30), random)
    assert many.shape == (2, POSITIONS) and all(len(set(row)) == POSITIONS for row in many.tolist())


def test_the_constant_of_an_output_goes_into_its_bias_or_its_running_mean():
    graph, param, _ = built([-1, 4, 6, 6], lambda x: nn.Conv2D(4, 6, 3)(x))
    assert (solvable(graph, param).sink, solvable(graph, param).sign) == ("conv2d_0.b_0", 1)

    def normed(x):
        norm = nn.BatchNorm2D(6)
        norm.eval()
        return norm(nn.Conv2D(4, 6, 3, bias_attr=False)(x))

    graph, param, _ = built([-1, 4, 6, 6], normed)
    assert (solvable(graph, param).sink, solvable(graph, param).sign) == ("batch_norm2d_0.w_1", -1)
    graph, param, _ = built([-1, 4, 6, 6], conv(kernel_size=3))
    assert solvable(graph, param).sink is None


def test_what_is_not_solved_has_a_reason():
    def twice(x):
        layer = nn.Linear(8, 8)
        return layer(layer(x))

    graph, param, _ = built([-1, 8], twice)
    assert solvable(graph, param) == "several ops read it"
    graph, param, _ = built([-1, 5, 4], lambda x: nn.LSTM(4, 6)(x)[0])
    assert solvable(graph, param).startswith("its own outputs are its inputs")
