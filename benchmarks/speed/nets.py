# SPDX-License-Identifier: Apache-2.0
"""Nets that the demo does not have: MobileNetV2 from Paddle, and one like EfficientNet-Lite0."""

from __future__ import annotations

from typing import Callable

import paddle.nn as nn
from architectures.classifiers import EfficientNet


def build(name: str) -> nn.Layer:
    """A net for 3 channels and 1,000 classes, by its name in the table."""
    import models
    from paddle.vision.models import mobilenet_v2

    own: dict[str, Callable[[], nn.Layer]] = {"MobileNetV2": mobilenet_v2, "EfficientNet-Lite": EfficientNetLite}
    return own[name]() if name in own else getattr(models, name)(3, 1000)


def conv_norm(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, act: bool = True
) -> nn.Sequential:
    conv = nn.Conv2D(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias_attr=False)
    return nn.Sequential(conv, nn.BatchNorm2D(outputs), *([nn.ReLU6()] if act else []))


class InvertedResidual(nn.Layer):
    """Expand by 1x1, one filter per channel, project by 1x1; added to its input where both are of one size."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int, kernel: int) -> None:
        super().__init__()
        inside = inputs * expansion
        expand = [conv_norm(inputs, inside, 1)] if expansion > 1 else []
        self.body = nn.Sequential(
            *expand,
            conv_norm(inside, inside, kernel, stride=stride, groups=inside),
            conv_norm(inside, outputs, 1, act=False),
        )
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.body(x) if self.is_residual else self.body(x)


class EfficientNetLite(nn.Sequential):
    """EfficientNet-Lite0's layers: no squeeze and excite, ReLU6. After Tan and Le 2019, arXiv:1905.11946."""

    def __init__(self) -> None:
        layers, inputs = [conv_norm(3, 32, 3, stride=2)], 32
        for expansion, outputs, repeats, stride, kernel in EfficientNet.STAGES:
            for repeat in range(repeats):
                layers.append(InvertedResidual(inputs, outputs, expansion, 1 if repeat else stride, kernel))
                inputs = outputs
        super().__init__(
            *layers, conv_norm(inputs, 1280, 1), nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(1280, 1000)
        )
