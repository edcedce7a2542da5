# SPDX-License-Identifier: Apache-2.0
"""MobileNetV2: 1x1 up, depthwise 3x3, 1x1 down, with a shortcut between the narrow ends.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, arXiv:1801.04381.
"""

from __future__ import annotations

from typing import Sequence

import paddle.nn as nn

# (expansion, output channels, repeats); the first block of a stage carries the stage's stride
STAGES = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))


def conv_bn(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, act: bool = True):
    """Convolution without bias, BatchNorm, and ReLU6 unless it is the linear end of a block."""
    conv = nn.Conv2D(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias_attr=False)
    return nn.Sequential(conv, nn.BatchNorm2D(outputs), *([nn.ReLU6()] if act else []))


class InvertedResidual(nn.Layer):
    """x + block(x) where the shapes allow it, else block(x)."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, expansion: int):
        super().__init__()
        wide = inputs * expansion
        self.block = nn.Sequential(
            *([conv_bn(inputs, wide, 1)] if expansion > 1 else []),
            conv_bn(wide, wide, 3, stride=stride, groups=wide),
            conv_bn(wide, outputs, 1, act=False),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.block(x) if self.adds else self.block(x)


def rounded(channels: float) -> int:
    """The nearest multiple of 8 that loses at most a tenth."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


class MobileNetV2(nn.Sequential):
    """MobileNetV2: [n, channels, h, w] → [n, classes].

    Args:
        channels: channels of the image.
        classes: number of logits.
        width: multiplies every layer's channels.
        strides: of the stem and of the seven stages: eight numbers, 1 or 2.
    """

    def __init__(
        self, channels: int, classes: int, *, width: float = 1.0, strides: Sequence[int] = (2, 1, 2, 2, 2, 1, 2, 1)
    ):
        if len(strides) != 1 + len(STAGES):
            raise ValueError(f"`strides` must be {1 + len(STAGES)} numbers, got {tuple(strides)}")
        inputs = rounded(32 * width)
        layers = [conv_bn(channels, inputs, 3, stride=strides[0])]
        for (expansion, base, repeats), stride in zip(STAGES, strides[1:]):
            outputs = rounded(base * width)
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                layers.append(InvertedResidual(inputs, outputs, stride=step, expansion=expansion))
                inputs = outputs
        last = rounded(1280 * max(1.0, width))
        layers.append(conv_bn(inputs, last, 1))
        super().__init__(*layers, nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(last, classes))

    @staticmethod
    def strides_for(size: int) -> tuple[int, ...]:
        """Return strides that leave about 7x7 (large images) or 4x4 (28x28, 32x32) before the pooling."""
        return (2, 1, 2, 2, 2, 1, 2, 1) if size >= 96 else (1, 1, 1, 2, 2, 1, 2, 1)
