# SPDX-License-Identifier: Apache-2.0
"""Planes of another size, against Paddle: interpolation, padding, transposed convolutions."""

from __future__ import annotations

import paddle
import pytest
from paddle.nn import functional
from runtime_nets import assert_like_paddle

pytestmark = pytest.mark.usefixtures("static")
OPEN = [-1, 4, -1, -1]


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize(
    "size", [{"size": [10, 13]}, {"size": [3, 5]}, {"scale_factor": 2}, {"scale_factor": [1.5, 3]}], ids=str
)
def test_planes_are_resized_as_in_paddle(tmp_path, mode, corners, size):
    def net(x):
        return functional.interpolate(x, mode=mode, align_corners=corners, **size)

    if mode == "nearest" and corners:
        pytest.skip("Paddle refuses it")
    assert_like_paddle(tmp_path, net, OPEN, most=2e-5)


@pytest.mark.parametrize("align_mode", [0, 1])
def test_pixels_may_be_points_or_squares(tmp_path, align_mode):
    assert_like_paddle(
        tmp_path,
        lambda x: functional.interpolate(x, scale_factor=2, mode="bilinear", align_mode=align_mode),
        OPEN,
        most=2e-5,
    )


def decoder(x):
    small = paddle.nn.Conv2D(4, 6, 3, stride=2, padding=1)(x)
    large = functional.interpolate(small, size=paddle.shape(x)[2:], mode="bilinear")
    return paddle.concat([x, large], axis=1)


def neck(x):
    small = paddle.nn.Conv2D(4, 4, 3, stride=2, padding=1)(x)
    size = paddle.shape(small)
    return functional.interpolate(small, size=[size[2] * 2, size[3] * 2], mode="nearest")


@pytest.mark.parametrize("net", [decoder, neck])
def test_a_size_that_is_read_in_the_graph_is_followed(tmp_path, net):
    plan = assert_like_paddle(tmp_path, net, OPEN, most=2e-5)
    assert "size=" not in plan


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("size", [-1, 6], ids=["open", "fixed"])
def test_planes_are_padded_as_in_paddle(tmp_path, mode, size):
    assert_like_paddle(
        tmp_path, lambda x: functional.pad(x, [1, 2, 3, 0], mode=mode, value=0.5), [-1, 4, size, size], [2, 4, 6, 6]
    )


def test_channels_are_padded_as_in_paddle(tmp_path):
    assert_like_paddle(tmp_path, lambda x: functional.pad(x, [0, 0, 2, 3, 0, 1, 1, 0], value=1.5), OPEN)


@pytest.mark.parametrize(
    "words",
    [
        {"kernel_size": 2, "stride": 2},
        {"kernel_size": 4, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
        {"kernel_size": 3, "stride": 1, "padding": 1},
        {"kernel_size": 3, "stride": 3, "padding": [0, 1], "output_padding": [2, 0]},
        {"kernel_size": 4, "stride": 2, "padding": 1, "groups": 4},
        {"kernel_size": 3, "stride": 2, "dilation": 2},
        {"kernel_size": 2, "stride": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [-1, 5], ids=["open", "fixed"])
def test_a_transposed_convolution_is_one_of_its_phases(tmp_path, words, size):
    def net(x):
        return paddle.nn.Conv2DTranspose(4, 8, **words)(x)

    assert_like_paddle(tmp_path, net, [-1, 4, size, size], [2, 4, 5, 5])
