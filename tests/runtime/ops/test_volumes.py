# SPDX-License-Identifier: Apache-2.0
"""Signals and volumes, [n, channels, pixels] and [n, channels, depth, height, width], against Paddle."""

from __future__ import annotations

import paddle
import pytest
from paddle.nn import functional
from runtime_nets import assert_like_paddle

pytestmark = pytest.mark.usefixtures("static")


def signal(x):
    x = functional.relu(paddle.nn.BatchNorm1D(8)(paddle.nn.Conv1D(4, 8, 3, padding=1)(x)))
    x = functional.max_pool1d(x, 2, 2)
    return paddle.nn.Conv1DTranspose(8, 4, 2, stride=2)(functional.avg_pool1d(x, 2, 2))


@pytest.mark.parametrize("size", [16, -1], ids=["fixed", "open"])
def test_a_signal_is_a_plane_of_one_row(tmp_path, size):
    assert_like_paddle(tmp_path, signal, [-1, 4, size], [2, 4, 16])


@pytest.mark.parametrize(
    "words",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": [3, 1, 1], "stride": [2, 1, 1]},
        {"kernel_size": 3, "padding": [0, 1, 2], "stride": 2},
        {"kernel_size": [2, 3, 3], "dilation": [2, 1, 1]},
        {"kernel_size": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [6, -1], ids=["fixed", "open"])
def test_a_convolution_of_volumes_is_one_of_planes_for_each_slice(tmp_path, words, size):
    def net(x):
        y = functional.relu(paddle.nn.BatchNorm3D(6)(paddle.nn.Conv3D(4, 6, **words)(x)))
        return paddle.nn.Conv3D(6, 3, 1)(y)

    assert_like_paddle(tmp_path, net, [-1, 4, 5, size, size], [2, 4, 5, 6, 6])


@pytest.mark.parametrize("size", [6, -1], ids=["fixed", "open"])
def test_volumes_are_pooled(tmp_path, size):
    assert_like_paddle(
        tmp_path,
        lambda x: functional.avg_pool3d(functional.max_pool3d(x, 3, 1, padding=1), [2, 3, 2]),
        [-1, 4, 5, size, size],
        [2, 4, 5, 6, 6],
    )
