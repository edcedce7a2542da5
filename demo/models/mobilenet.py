# SPDX-License-Identifier: Apache-2.0
"""MobileNetV1: depthwise 3x3 and pointwise 1x1 convolutions in turn.

Source: Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
2017, arXiv:1704.04861.
"""

from __future__ import annotations

from typing import Sequence

import paddle.nn as nn

# (output channels, repeats); the first block of every stage carries the stage's stride
STAGES = ((64, 1), (128, 2), (256, 2), (512, 6), (1024, 2))


def conv_bn(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias, BatchNorm, ReLU."""
    conv = nn.Conv2D(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias_attr=False)
    return nn.Sequential(conv, nn.BatchNorm2D(outputs), nn.ReLU())


def depthwise_separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """One MobileNet block: a 3x3 filter per channel, then a 1x1 mix of the channels."""
    return nn.Sequential(
        conv_bn(inputs, inputs, 3, stride=stride, groups=inputs),
        conv_bn(inputs, outputs, 1),
    )


class MobileNet(nn.Sequential):
    """MobileNetV1: [n, channels, h, w] → [n, classes].

    Args:
        channels: channels of the image.
        classes: number of logits.
        width: multiplies every layer's channels (at least 8 remain).
        strides: of the stem and of the stages that follow the first one: five numbers, 1 or 2.
    """

    def __init__(self, channels: int, classes: int, *, width: float = 1.0, strides: Sequence[int] = (2, 2, 2, 2, 2)):
        if len(strides) != len(STAGES):
            raise ValueError(f"`strides` must be {len(STAGES)} numbers, got {tuple(strides)}")

        def scaled(outputs: int) -> int:
            return max(8, int(outputs * width))

        inputs = scaled(32)
        layers = [conv_bn(channels, inputs, 3, stride=strides[0])]
        for (outputs, repeats), stride in zip(STAGES, (1, *strides[1:])):
            for repeat in range(repeats):
                layers.append(depthwise_separable(inputs, scaled(outputs), stride if repeat == 0 else 1))
                inputs = scaled(outputs)
        super().__init__(*layers, nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(inputs, classes))

    @staticmethod
    def strides_for(size: int) -> tuple[int, ...]:
        """Return strides that leave about 7x7 (large images) or 4x4 (28x28, 32x32) before the pooling."""
        return (2, 2, 2, 2, 2) if size >= 96 else (1, 1, 2, 2, 2)
