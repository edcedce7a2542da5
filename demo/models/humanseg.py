# SPDX-License-Identifier: Apache-2.0
"""PP-HumanSeg-Lite: a small net for masks, of shuffled channels and separable convolutions.

Source: Chu et al., "PP-HumanSeg: Connectivity-Aware Portrait Segmentation with a Large-Scale Teleconferencing Video
Dataset", 2021, arXiv:2112.07146.
"""

from __future__ import annotations

import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from models.mobilenet import conv_bn


class Unit(nn.Layer):
    """Half of the channels pass, the others are convolved; with a stride both halves come from all. Then a shuffle."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        branch = inputs if stride == 2 else inputs // 2
        self.beside = separable(inputs, half, stride) if stride == 2 else None
        self.through = nn.Sequential(conv_bn(branch, half, 1), separable(half, half, stride))
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x):
        if self.beside is None:
            passed, x = paddle.split(x, 2, axis=1)
        else:
            passed = self.beside(x)
        return self.shuffle(paddle.concat([passed, self.through(x)], axis=1))


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 filter per channel, then a 1x1 mix of the channels."""
    depthwise = nn.Conv2D(inputs, inputs, 3, stride, padding=1, groups=inputs, bias_attr=False)
    return nn.Sequential(depthwise, nn.BatchNorm2D(inputs), conv_bn(inputs, outputs, 1))


class HumanSeg(nn.Layer):
    """[n, channels, h, w] → logits [n, classes, h, w]; h and w are multiples of 16.

    Args:
        channels: channels of the image.
        classes: classes of a pixel.
        width: multiplies every layer's channels.
    """

    def __init__(self, channels: int, classes: int, *, width: float = 1.0) -> None:
        super().__init__()

        def scaled(outputs: int) -> int:
            return max(8, int(outputs * width) // 4 * 4)

        stem, side, first, second, last = map(scaled, (36, 18, 72, 144, 64))
        self.stem, self.side = conv_bn(channels, stem, 3, stride=2), conv_bn(stem, side, 1)
        self.first = nn.Sequential(Unit(stem, first, stride=2), *(Unit(first, first, stride=1) for _ in range(3)))
        self.second = nn.Sequential(Unit(first, second, stride=2), *(Unit(second, second, stride=1) for _ in range(7)))
        self.reduce, self.join = separable(second, last), separable(last + side, last)
        self.out = nn.Sequential(separable(last, last), nn.Conv2D(last, classes, 1))

    def forward(self, x):
        stem = self.stem(x)
        side = self.side(stem)
        inner = self.reduce(self.second(self.first(F.max_pool2d(stem, kernel_size=3, stride=2, padding=1))))
        inner = F.interpolate(inner, scale_factor=8, mode="bilinear", align_corners=False)
        joined = self.out(self.join(paddle.concat([side, inner], axis=1)))
        return F.interpolate(joined, scale_factor=2, mode="bilinear", align_corners=False)
