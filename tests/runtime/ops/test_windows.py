# SPDX-License-Identifier: Apache-2.0
"""Padding that a size decides at run time, channels that come last, and frames that share a convolution."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from int8_plans import UNIT, net, pick_bytes, pick_weight8, pick_weights, require_equal
from paddle import nn
from paddle.nn import functional
from runtime_nets import assert_like_paddle

from paddle_unstructured.runtime.engine import Engine
from paddle_unstructured.runtime.int8.quantizer import Quantizer
from paddle_unstructured.runtime.plan import Window, one_image

pytestmark = pytest.mark.usefixtures("static")
OPEN = [-1, 4, -1, -1]
SAME = {
    "3x3, stride 2": lambda x: nn.Conv2D(4, 5, 3, 2, padding="SAME")(x),
    "5x3, stride 2 and 3": lambda x: nn.Conv2D(4, 5, (5, 3), (2, 3), padding="SAME")(x),
    "3x3, stride 3": lambda x: nn.Conv2D(4, 5, 3, 3, padding="SAME")(x),
    "2x2, stride 2": lambda x: nn.Conv2D(4, 5, 2, 2, padding="SAME")(x),
    "1x1, stride 2": lambda x: nn.Conv2D(4, 5, 1, 2, padding="SAME")(x),
    "depthwise 3x3": lambda x: nn.Conv2D(4, 4, 3, 2, padding="SAME", groups=4)(x),
    "depthwise 5x5": lambda x: nn.Conv2D(4, 4, 5, 2, padding="SAME", groups=4)(x),
    "maxima": lambda x: functional.max_pool2d(x, 3, 2, padding="SAME"),
    "a sum of two": lambda x: (
        nn.Conv2D(4, 4, 3, 2, padding="SAME")(x) + nn.Conv2D(4, 4, 1, 2, padding="SAME", bias_attr=False)(x)
    ),
}


@pytest.mark.parametrize("size", [(7, 9), (8, 12), (1, 2)], ids=str)
@pytest.mark.parametrize("layers", SAME.values(), ids=SAME)
def test_same_padding_of_an_open_size(tmp_path, layers, size):
    assert_like_paddle(tmp_path, layers, OPEN, [2, 4, *size])


def means(x):
    return functional.avg_pool2d(x, 3, 2, padding="SAME", exclusive=True)


def test_means_over_same_padding_count_the_plane_alone(tmp_path):
    """Paddle's kernel for an open size fails; that of a fixed one does the same."""
    assert_like_paddle(tmp_path, means, [-1, 4, 7, 8])


@pytest.mark.parametrize("size", [(7, 9), (8, 8)], ids=str)
@pytest.mark.parametrize("kind", ["conv", "depthwise", "pool"])
def test_same_padding_of_bytes_is_that_of_the_reference(kind, size):
    random, to = np.random.default_rng(3), Quantizer(90.0, 120)
    window = Window((3, 3), (2, 2), same=True)

    def layer(write, value):
        if kind == "pool":
            return write.pool(value, window, {"type": "avg", "ceil": 0, "exclusive": 1}, UNIT)
        shape = (8, 1 if kind == "depthwise" else 8, 3, 3)
        weight = pick_weight8(random, pick_weights(random, *shape), UNIT, 1.0)
        return (write.depthwise if kind == "depthwise" else write.convolution)(value, weight, window, to)

    require_equal(net(layer, 8), pick_bytes(random, 2, 8, *size))


@pytest.mark.parametrize("words", [{"pad": "1,0,0,0"}, {"dilation": "2,1"}, {"same": 2}, {"same": -1}], ids=str)
def test_same_padding_beside_another_is_refused(words):
    plan, usual = one_image(1), {**Window((3, 3), same=True).words, "type": "max", "ceil": 0, "exclusive": 1}
    plan.output(plan.add("pool", [0], **{**usual, **words}))
    with pytest.raises(ValueError, match="same"):
        Engine(plan.text, [])


LAST = {
    "a convolution": lambda x: nn.Conv2D(6, 8, 3, 2, 1, data_format="NHWC")(x),
    "grouped": lambda x: nn.Conv2D(6, 8, 3, groups=2, data_format="NHWC")(x),
    "depthwise": lambda x: nn.Conv2D(6, 6, 3, groups=6, data_format="NHWC")(x),
    "transposed": lambda x: nn.Conv2DTranspose(6, 4, 2, 2, data_format="NHWC")(x),
    "norm": lambda x: nn.BatchNorm2D(6, data_format="NHWC")(x),
    "maxima": lambda x: functional.max_pool2d(x, 2, 2, data_format="NHWC"),
    "global mean": lambda x: nn.AdaptiveAvgPool2D(1, data_format="NHWC")(x),
    "resized": lambda x: functional.interpolate(x, scale_factor=2, mode="bilinear", data_format="NHWC"),
    "padded": lambda x: functional.pad(x, [1, 2, 0, 1], data_format="NHWC"),
    "shuffled": lambda x: functional.channel_shuffle(x, 3, "NHWC"),
    "prelu": lambda x: nn.PReLU(6, data_format="NHWC")(x),
    "signal": lambda x: nn.Conv1D(6, 4, 3, data_format="NLC")(x.flatten(1, 2)),
}


@pytest.mark.parametrize("layers", LAST.values(), ids=LAST)
def test_channels_may_come_last(tmp_path, layers):
    plan = assert_like_paddle(tmp_path, lambda x: layers(x.transpose([0, 2, 3, 1])), [-1, 6, -1, 7], [2, 6, 9, 7])
    assert plan.count("permute") <= 1


def frames(x):
    y = functional.relu(nn.BatchNorm2D(8)(nn.Conv2D(4, 8, 3, padding=1)(x.reshape([-1, 4, 7, 9]))))
    y = functional.max_pool2d(y, 2, 2) * nn.Conv2D(8, 8, 3, 2, groups=8)(y)
    return y.mean([2, 3]).reshape([-1, 3, 8]).mean(1)


def test_frames_of_a_sample_share_a_convolution(tmp_path):
    plan = assert_like_paddle(tmp_path, frames, [-1, 12, 7, 9])
    assert plan.count("step=") == 2


def test_a_convolution_moves_along_the_channels():
    random = np.random.default_rng(0)
    plan, weight = one_image(10), random.normal(size=(3, 4, 1, 1))
    plan.output(plan.convolution(0, weight, np.zeros(3), Window(), step=2))
    x = random.normal(size=(2, 10, 5, 1)).astype("float32")
    [got] = Engine(plan.text, plan.arrays, threads=2).run(x)
    for at in range(4):
        part = np.einsum("oc,nchw->nohw", weight[:, :, 0, 0], x[:, 2 * at : 2 * at + 4])
        np.testing.assert_allclose(got[:, 3 * at : 3 * at + 3], part, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("step", "channels"), [(4, 10), (2, 2), (0, 10), (1 << 30, 10)])
def test_a_step_that_does_not_fit_is_refused(step, channels):
    plan = one_image(channels)
    plan.output(plan.convolution(0, np.ones((3, 4, 1, 1)), np.zeros(3), Window(), step=step or -1))
    with pytest.raises(ValueError, match="step|moves by"):
        Engine(plan.text, plan.arrays).run(np.zeros((1, channels, 2, 2), "float32"))


@pytest.mark.parametrize("count", [8, 6])
def test_bytes_move_by_whole_groups_of_channels(count):
    random, to = np.random.default_rng(1), Quantizer(40.0, 120)
    weight = pick_weight8(random, pick_weights(random, 4, count, 3, 3), UNIT, 1.0)
    writer = net(lambda write, value: write.convolution(value, weight, Window((3, 3)), to, step=count), 3 * count)
    x = pick_bytes(random, 2, 3 * count, 6, 5)
    if count % 4:
        with pytest.raises(ValueError, match="less than a group"):
            Engine(writer.text, writer.arrays)
        return
    [got] = Engine(writer.text, writer.arrays).run(x)
    one = net(lambda write, value: write.convolution(value, weight, Window((3, 3)), to), count)
    for at in range(3):
        [part] = Engine(one.text, one.arrays).run(np.ascontiguousarray(x[:, at * count : (at + 1) * count]))
        np.testing.assert_array_equal(got[:, at * 4 : at * 4 + 4], part)


def unpooled(x):
    y, places = functional.max_pool2d(x, 2, 2, return_mask=True)
    return functional.max_unpool2d(y, places, 2, 2) * x


def test_numbers_go_back_to_the_places_of_their_maxima(tmp_path):
    assert "unpool" in assert_like_paddle(tmp_path, unpooled, [-1, 4, 8, 6])


def test_places_outside_a_plane_are_left_out():
    plan = one_image(1)
    plan.output(plan.add("unpool", [0, 0], size="2,2"))
    [got] = Engine(plan.text, plan.arrays).run(np.array([3, -1, 1e30, np.nan], "float32").reshape(1, 1, 2, 2))
    np.testing.assert_array_equal(got.ravel(), [0, 0, 0, 3])


def attention_over_pixels(x):
    size, flat = paddle.shape(x), x.flatten(2)
    weights = functional.softmax(paddle.bmm(flat.transpose([0, 2, 1]), flat))
    return nn.Conv2D(4, 4, 3)(paddle.bmm(flat, weights.transpose([0, 2, 1])).reshape([0, 4, size[2], size[3]]))


def test_pixels_of_a_product_lie_in_rows_again(tmp_path):
    assert "shaped" in assert_like_paddle(tmp_path, attention_over_pixels, OPEN)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_volume_of_open_depth(tmp_path, groups):
    def net(x):
        y = nn.Conv3D(4, 8, 3, (2, 1, 2), 1, groups=groups, bias_attr=False)(x)
        y = functional.relu(nn.BatchNorm3D(8)(y))
        return nn.Linear(8, 3)(functional.adaptive_avg_pool3d(nn.Conv3D(8, 8, (1, 3, 3))(y), 1).flatten(1))

    assert_like_paddle(tmp_path, net, [-1, 4, -1, -1, -1], [2, 4, 5, 6, 7])
