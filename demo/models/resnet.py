# SPDX-License-Identifier: Apache-2.0
"""ResNet-34 and ResNet-50, the latter with the stride in the 3x3 convolution.

Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015, arXiv:1512.03385.
"""

from __future__ import annotations

import paddle.nn as nn
from paddle.nn.functional import relu


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, BatchNorm."""
    conv = nn.Conv2D(inputs, outputs, kernel, stride, padding=kernel // 2, bias_attr=False)
    return nn.Sequential(conv, nn.BatchNorm2D(outputs))


class Basic(nn.Layer):
    """Two 3x3, and the shortcut around them."""

    expansion = 1

    def __init__(self, inputs: int, channels: int, stride: int):
        super().__init__()
        self.first = conv_bn(inputs, channels, 3, stride)
        self.second = conv_bn(channels, channels, 3)
        same = stride == 1 and inputs == channels
        self.shortcut = nn.Identity() if same else conv_bn(inputs, channels, 1, stride)

    def forward(self, x):
        return relu(self.shortcut(x) + self.second(relu(self.first(x))))


class Bottleneck(nn.Layer):
    """1x1 down, 3x3, 1x1 up, and the shortcut around them."""

    expansion = 4

    def __init__(self, inputs: int, channels: int, stride: int):
        super().__init__()
        outputs = channels * self.expansion
        self.down = conv_bn(inputs, channels, 1)
        self.middle = conv_bn(channels, channels, 3, stride)
        self.up = conv_bn(channels, outputs, 1)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else conv_bn(inputs, outputs, 1, stride)

    def forward(self, x):
        return relu(self.shortcut(x) + self.up(relu(self.middle(relu(self.down(x))))))


def stem(channels: int, stride: int) -> list[nn.Layer]:
    """7x7 convolution and pooling (stride 4), or one 3x3 convolution for small images (stride 1)."""
    if stride == 1:
        return [conv_bn(channels, 64, 3), nn.ReLU()]
    return [conv_bn(channels, 64, 7, 2), nn.ReLU(), nn.MaxPool2D(3, 2, padding=1)]


class ResNet(nn.Sequential):
    """A ResNet: [n, channels, h, w] → [n, classes].

    Args:
        block: `Basic` or `Bottleneck`.
        repeats: blocks of each of the four stages.
        channels: channels of the image.
        classes: number of logits.
        stem_stride: 4 for ImageNet, 1 for images around 32x32.
    """

    def __init__(
        self,
        block: type[Basic] | type[Bottleneck],
        repeats: tuple[int, ...],
        channels: int,
        classes: int,
        *,
        stem_stride: int = 4,
    ):
        if stem_stride not in (1, 4):
            raise ValueError(f"`stem_stride` must be 1 or 4, got {stem_stride}")
        layers, inputs = stem(channels, stem_stride), 64
        for width, count in zip((64, 128, 256, 512), repeats):
            for repeat in range(count):
                stride = 2 if repeat == 0 and width > 64 else 1
                layers.append(block(inputs, width, stride))
                inputs = width * block.expansion
        super().__init__(*layers, nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(inputs, classes))


def ResNet34(channels: int, classes: int, *, stem_stride: int = 4) -> ResNet:
    return ResNet(Basic, (3, 4, 6, 3), channels, classes, stem_stride=stem_stride)


def ResNet50(channels: int, classes: int, *, stem_stride: int = 4) -> ResNet:
    return ResNet(Bottleneck, (3, 4, 6, 3), channels, classes, stem_stride=stem_stride)
