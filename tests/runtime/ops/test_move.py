# SPDX-License-Identifier: Apache-2.0
"""What only moves numbers, against Paddle: reshape, transpose, slices, splits, joins, repetitions."""

from __future__ import annotations

import paddle
import pytest
from runtime_nets import assert_like_paddle

pytestmark = pytest.mark.usefixtures("static")
PLANES = [-1, 12, -1, -1]


def lines(plan, kind):
    return [line for line in plan.split("\n") if line.startswith(kind + " ")]


def shuffled(x, groups=3):
    size = paddle.shape(x)
    x = x.reshape([0, groups, x.shape[1] // groups, size[2], size[3]]).transpose([0, 2, 1, 3, 4])
    return x.reshape([0, x.shape[1] * groups, size[2], size[3]])


def test_a_channel_shuffle_before_a_convolution_costs_nothing(tmp_path):
    plan = assert_like_paddle(tmp_path, lambda x: paddle.nn.Conv2D(12, 4, 1)(shuffled(x)), PLANES)
    assert not lines(plan, "permute")


def test_a_channel_shuffle_before_an_output_moves_planes(tmp_path):
    assert len(lines(assert_like_paddle(tmp_path, shuffled, PLANES), "permute")) == 1


def nhwc_linear(x):
    return paddle.nn.Linear(12, 5)(x.transpose([0, 2, 3, 1]).flatten(1, 2)).transpose([0, 2, 1]).reshape([0, 5, 7, 9])


def test_a_linear_layer_over_pixels_is_a_1x1_convolution(tmp_path):
    plan = assert_like_paddle(tmp_path, nhwc_linear, [-1, 12, 7, 9])
    assert lines(plan, "conv")


NETS = {
    "space to depth": lambda x: paddle.nn.functional.pixel_unshuffle(x, 2),
    "depth to space": lambda x: paddle.nn.functional.pixel_shuffle(x, 2),
    "shuffle op": lambda x: paddle.nn.functional.channel_shuffle(x, 4),
    "rows first": lambda x: x.transpose([0, 2, 1, 3]),
    "columns first": lambda x: x.transpose([0, 3, 2, 1]),
    "turned": lambda x: x.transpose([0, 1, 3, 2]),
    "focus": lambda x: paddle.concat(
        [x[:, :, ::2, ::2], x[:, :, 1::2, ::2], x[:, :, ::2, 1::2], x[:, :, 1::2, 1::2]], 1
    ),
    "split": lambda x: paddle.concat(paddle.split(x, [3, 4, -1], axis=1)[::-1], 1),
    "chunks": lambda x: paddle.add(*paddle.chunk(x, 2, axis=1)),
    "unbind": lambda x: paddle.stack(paddle.unbind(x, axis=1)[:3], axis=1),
    "rows joined": lambda x: paddle.concat([x, x[:, :, 1:3]], axis=2),
    "columns joined": lambda x: paddle.concat([x[:, :, :, 1:], x], axis=-1),
    "last column": lambda x: paddle.concat([x[:, :, :, -1:], x[:, :, :, :-1]], axis=-1),
    "every third channel": lambda x: x[:, 1::3],
    "flipped": lambda x: paddle.flip(x, [1]),
    "read backwards": lambda x: paddle.strided_slice(x, [1], [8], [1], [-2]),
    "backwards to the end": lambda x: x[:, ::-1],
    "one channel": lambda x: x[:, 5].unsqueeze(1) * x,
    "tiled": lambda x: paddle.tile(x[:, :2], [1, 3, 1, 1]),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("size", [8, -1], ids=["fixed", "open"])
def test_numbers_move_as_in_paddle(tmp_path, name, size):
    if name == "space to depth" and size < 0:
        pytest.skip("Paddle refuses an open size")
    assert_like_paddle(tmp_path, NETS[name], [-1, 12, size, size], [2, 12, 8, 8])


def with_token(x):
    token = paddle.create_parameter([1, 1, 12], "float32")
    tokens = x.flatten(2).transpose([0, 2, 1])
    whole = paddle.concat([token.expand([paddle.shape(x)[0], -1, -1]), tokens], axis=1)
    return paddle.nn.Linear(12, 8)(whole[:, 1:]).transpose([0, 2, 1]).unsqueeze(-1)


@pytest.mark.parametrize("size", [8, -1], ids=["fixed", "open"])
def test_a_token_is_put_before_those_of_the_image(tmp_path, size):
    assert_like_paddle(tmp_path, with_token, [-1, 12, size, size], [2, 12, 8, 8])


def heads(x):
    """As a detector ends: three scales, boxes of all side by side, [n, boxes, values]."""
    parts = []
    for stride in (1, 2, 4):
        y = paddle.nn.Conv2D(12, 10, 3, stride=stride, padding=1)(x)
        parts.append(y.flatten(2).transpose([0, 2, 1]))
    return paddle.concat(parts, axis=1).transpose([0, 2, 1]).unsqueeze(-1)


@pytest.mark.parametrize("size", [8, -1], ids=["fixed", "open"])
def test_boxes_of_several_scales_are_joined(tmp_path, size):
    assert_like_paddle(tmp_path, heads, [-1, 12, size, size], [2, 12, 8, 8])
