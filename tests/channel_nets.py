# SPDX-License-Identifier: Apache-2.0
"""Nets whose channels may change places, and nets in which something depends on their order."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from nets import Net
from paddle import nn


def conv_bn_conv(x: Any) -> Any:
    return nn.Conv2D(8, 4, 3)(F.relu(nn.BatchNorm2D(8)(nn.Conv2D(3, 8, 3)(x))))


def depthwise(x: Any) -> Any:
    x = F.relu6(nn.BatchNorm2D(8)(nn.Conv2D(3, 8, 3, bias_attr=False)(x)))
    x = F.hardswish(nn.BatchNorm2D(16)(nn.Conv2D(8, 16, 3, groups=8)(x)))  # two outputs per channel
    return nn.Conv2D(16, 4, 1)(x)


def flattened(x: Any) -> Any:
    return nn.Linear(8 * 3 * 3, 4)(nn.MaxPool2D(2)(nn.Conv2D(3, 8, 3)(x)).flatten(1))


def pooled(x: Any) -> Any:
    x = nn.AdaptiveAvgPool2D(1)(F.gelu(nn.Conv2D(3, 8, 3)(x)))
    return nn.Linear(8, 2)(F.silu(nn.LayerNorm(8)(nn.Linear(8, 8)(x.squeeze([2, 3])))))


def averaged(x: Any) -> Any:
    return nn.Linear(8, 4)(nn.Conv2D(3, 8, 3)(x).mean([2, 3]))


def transposed_conv(x: Any) -> Any:
    x = nn.PReLU(8)(nn.InstanceNorm2D(8)(nn.Conv2D(3, 8, 3)(x)))
    return nn.Conv2DTranspose(8, 4, 2)(nn.Pad2D(1)(F.pad(x, [0, 0, 0, 0, 1, 0, 2, 1])) * 2.0)


def channels_last(x: Any) -> Any:
    x = nn.Conv2D(3, 8, 3, data_format="NHWC")(x.transpose([0, 2, 3, 1]))
    return nn.Linear(6 * 6 * 8, 4)(nn.BatchNorm2D(8, data_format="NHWC")(x).flatten(1))


def channels_last_averaged(x: Any) -> Any:
    return nn.Linear(8, 4)(nn.Conv2D(3, 8, 3, data_format="NHWC")(x.transpose([0, 2, 3, 1])).mean([1, 2]))


def one_dimensional(x: Any) -> Any:
    return nn.Conv1D(8, 4, 3)(F.relu(nn.BatchNorm1D(8)(nn.Conv1D(3, 8, 3)(x.flatten(2)))))


def with_a_table(x: Any) -> Any:
    rows = nn.Linear(3, 8)(x.mean([2, 3]))  # [2, 8]
    table = paddle.create_parameter([5, 1, 8], "float32", default_initializer=nn.initializer.Normal())
    return nn.Linear(8, 4)(1.0 - rows * table)


def two_readers(x: Any) -> Any:
    x = F.tanh(nn.Conv2D(3, 8, 3)(x))
    return nn.Conv2D(8, 4, 1)(x) + nn.Conv2D(8, 4, 1)(nn.Upsample(scale_factor=1)(x))


def residual(x: Any) -> Any:
    x = nn.Conv2D(3, 8, 1)(x)
    return nn.Conv2D(8, 4, 1)(x + nn.Conv2D(8, 8, 1)(F.relu(x)))


def concatenated(x: Any) -> Any:
    return nn.Conv2D(11, 4, 1)(paddle.concat([nn.Conv2D(3, 8, 1)(x), x], axis=1))


def grouped(x: Any) -> Any:
    return nn.Conv2D(8, 4, 1, groups=2)(nn.Conv2D(3, 8, 1)(x))


def group_normed(x: Any) -> Any:
    return nn.Conv2D(8, 4, 1)(nn.GroupNorm(2, 8)(nn.Conv2D(3, 8, 1)(x)))


def shuffled(x: Any) -> Any:
    x = nn.Conv2D(3, 8, 1)(x).reshape([2, 4, 2, 64]).transpose([0, 2, 1, 3]).reshape([2, 8, 8, 8])
    return nn.Conv2D(8, 4, 1)(x)


def layer_normed(x: Any) -> Any:
    return nn.Conv2D(8, 4, 1)(nn.LayerNorm(8)(nn.Conv2D(3, 8, 1)(x)))  # over eight columns, not the eight channels


def padded_channels(x: Any) -> Any:
    return nn.Conv2D(10, 4, 1)(F.pad(nn.Conv2D(3, 8, 1)(x), [0, 0, 1, 1, 0, 0, 0, 0]))


def averaged_channels(x: Any) -> Any:
    return nn.Conv2D(1, 4, 1)(nn.Conv2D(3, 8, 1)(x).mean(1, keepdim=True))


def linear_over_the_width(x: Any) -> Any:
    return nn.Linear(8, 4)(nn.Conv2D(3, 8, 1)(x))  # eight channels, eight columns


def as_filters(x: Any) -> Any:
    return F.conv2d(x[:, :, :4], nn.Conv2D(3, 3, 1)(nn.Conv2D(3, 8, 1)(x)[:, :3]))


def gated(x: Any) -> Any:
    return nn.Conv2D(8, 4, 1)(nn.Conv2D(3, 8, 1)(x) * F.sigmoid(nn.Conv2D(3, 8, 1)(x)))


def shared(x: Any) -> Any:
    conv = nn.Conv2D(8, 8, 1)
    return conv(F.relu(conv(F.relu(nn.Conv2D(3, 8, 1)(x)))))


def shared_between(x: Any) -> Any:
    conv = nn.Conv2D(8, 8, 1)
    return nn.Conv2D(8, 4, 1)(conv(F.relu(conv(F.relu(nn.Conv2D(3, 8, 1)(x))))))


def three_dimensional(x: Any) -> Any:
    x = nn.Conv3D(3, 8, [1, 3, 3])(x.unsqueeze(2))
    x = nn.MaxPool3D([1, 2, 2])(F.relu(nn.InstanceNorm3D(8)(nn.BatchNorm3D(8)(x))))
    return nn.Conv3DTranspose(8, 4, 1)(x)


def depthwise_transposed(x: Any) -> Any:
    x = nn.Conv2DTranspose(8, 8, 2, stride=2, groups=8)(nn.Conv2D(3, 8, 1)(x))
    return nn.Conv2D(8, 4, 1)(x)


def twice_concatenated(x: Any) -> Any:
    y = nn.Conv2D(3, 8, 1)(x)
    return nn.Conv2D(16, 4, 1)(nn.BatchNorm2D(16)(paddle.concat([y, F.relu(y)], axis=1)))


def in_parts(x: Any) -> Any:
    a, b = paddle.split(nn.Conv2D(3, 8, 1)(x), [3, 5], 1)
    return nn.Conv2D(8, 4, 1)(paddle.concat([b, a], 1))


def in_equal_parts(x: Any) -> Any:
    a, b = paddle.chunk(nn.Conv2D(3, 8, 1)(x), 2, 1)
    return nn.Conv2D(4, 4, 1)(a * F.sigmoid(b))


def added_to_a_concatenation(x: Any) -> Any:
    x = nn.Conv2D(3, 8, 1)(x)
    return nn.Conv2D(16, 4, 1)(paddle.concat([x, nn.Conv2D(8, 8, 1)(x)], 1) + nn.Conv2D(8, 16, 1)(x))


def inside_a_branch(x: Any) -> Any:
    one, other = nn.Conv2D(3, 8, 1), nn.Conv2D(8, 4, 1)
    return paddle.static.nn.cond(
        x.mean() > -1e9, lambda: other(F.relu(one(x))), lambda: x[:, :1] * paddle.ones([4, 1, 1])
    )


def randomised(layers: Any, optimizer: Any = None) -> Net:
    """A net in which every stored number is random, so that none that stays behind goes unnoticed; even outputs are
    alike, and odd ones."""
    net = Net(layers, [2, 3, 8, 8], optimizer)
    rng = np.random.default_rng(3)
    for name, value in sorted(net.everything().items()):
        value = rng.uniform(0.1, 1.0, value.shape)
        if value.ndim > 2:
            value[0::2, 0] *= 5
            value[1::2, -1] *= 5
        elif value.ndim == 2:
            value[0, 0::2] *= 5
            value[-1, 1::2] *= 5
        net.put(name, value)
    return net


def outputs(net: Net) -> np.ndarray:
    """As inference gives them: norms use their stored statistics."""
    for op in net.program.global_block().ops:
        if "is_test" in op.attrs():
            op.set_bool_attr("is_test", True)
    net.steps = 0
    return net.run((net.output,))[1]
