# SPDX-License-Identifier: Apache-2.0
"""YOLOv3 on MobileNetV1: three planes, of strides 32, 16 and 8, each with 3 anchors x (5 + classes) channels.

Source: Redmon and Farhadi, "YOLOv3: An Incremental Improvement", 2018, arXiv:1804.02767; the backbone is
PaddleDetection's.
"""

from __future__ import annotations

import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from models.mobilenet import MobileNet, conv_bn

EMPTY, OTHER_CLASS = -4.0, -2.0  # logits at first: an object with probability 0.02, a class with 0.12


def leaky(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Convolution, batch norm, leaky ReLU."""
    convolution, norm, _ = conv_bn(inputs, outputs, kernel)
    return nn.Sequential(convolution, norm, nn.LeakyReLU(0.1))


def rare(classes: int) -> paddle.ParamAttr:
    """Biases of 3 anchors with which hardly any holds an object at first, as hardly any does.

    With zeros each is an object by half, and the first steps go into unlearning that everywhere.

    Source: Lin et al., "Focal Loss for Dense Object Detection", 2017, arXiv:1708.02002, section 4.1.
    """
    one = [0.0] * 4 + [EMPTY] + [OTHER_CLASS] * classes
    return paddle.ParamAttr(initializer=nn.initializer.Assign(3 * one))


class YOLOv3(nn.Layer):
    """[n, channels, h, w] → planes [n, 3 (5 + classes), h/32, w/32], then of twice and four times the size.

    Args:
        channels: channels of the image; h and w are multiples of 32.
        classes: classes of a box.
        width: multiplies every layer's channels.
    """

    def __init__(self, channels: int, classes: int, *, width: float = 1.0) -> None:
        super().__init__()
        units = list(MobileNet(channels, 1, width=width))[:-3]  # without pooling, flattening and the classifier
        self.stages = nn.LayerList([nn.Sequential(*units[:6]), nn.Sequential(*units[6:12]), nn.Sequential(*units[12:])])
        found = [max(8, int(outputs * width)) for outputs in (256, 512, 1024)]
        blocks, tips, outs, routes, extra = [], [], [], [], 0
        for i, inputs in enumerate(reversed(found)):
            inside = max(8, int(512 * width) >> i)
            pairs = [leaky(inputs + extra, inside, 1), leaky(inside, 2 * inside, 3)]
            pairs += [leaky(2 * inside, inside, 1), leaky(inside, 2 * inside, 3), leaky(2 * inside, inside, 1)]
            blocks.append(nn.Sequential(*pairs))
            tips.append(leaky(inside, 2 * inside, 3))
            outs.append(nn.Conv2D(2 * inside, 3 * (5 + classes), 1, bias_attr=rare(classes)))
            extra = max(8, inside // 2)
            if i < 2:
                routes.append(leaky(inside, extra, 1))
        self.blocks, self.tips = nn.LayerList(blocks), nn.LayerList(tips)
        self.outs, self.routes = nn.LayerList(outs), nn.LayerList(routes)

    def forward(self, x):
        planes = []
        for stage in self.stages:
            x = stage(x)
            planes.append(x)
        found, below = [], None
        for i, plane in enumerate(reversed(planes)):
            if below is not None:
                route = F.interpolate(self.routes[i - 1](below), scale_factor=2, mode="nearest")
                plane = paddle.concat([route, plane], axis=1)
            below = self.blocks[i](plane)
            found.append(self.outs[i](self.tips[i](below)))
        return found
