# SPDX-License-Identifier: Apache-2.0
"""What most nets are made of: convolution, batch norm and activation; squeeze and excite; channel counts by width."""

from __future__ import annotations

from typing import Any, Tuple, Union

import paddle.nn as nn
import paddle.nn.functional as F

Pair = Union[int, Tuple[int, int]]
ACTIVATIONS = {"relu": nn.ReLU, "relu6": nn.ReLU6, "hardswish": nn.Hardswish, "swish": nn.Swish, "gelu": nn.GELU}


def wide(channels: int, width: float, multiple: int = 8) -> int:
    """Channels times width, a multiple of 8 and not a tenth below: "make divisible" in the papers."""
    if width == 1.0 and multiple == 8:
        return channels
    found = max(multiple, int(channels * width + multiple / 2) // multiple * multiple)
    return found + multiple if found < 0.9 * channels * width else found


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch norm, activation; "same" size at stride 1."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Pair = 3,
        *,
        stride: Pair = 1,
        groups: int = 1,
        dilation: int = 1,
        act: str | None = "relu",
        padding: Any = None,
    ) -> None:
        if padding is None:
            padding = [k // 2 * dilation for k in ((kernel, kernel) if isinstance(kernel, int) else kernel)]
        conv = nn.Conv2D(inputs, outputs, kernel, stride, padding, groups=groups, dilation=dilation, bias_attr=False)
        super().__init__(conv, nn.BatchNorm2D(outputs), *([ACTIVATIONS[act]()] if act else []))


class Separable(nn.Sequential):
    """One filter per channel, then 1x1."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        *,
        stride: Pair = 1,
        dilation: int = 1,
        act: str | None = "relu",
        inner: str | None = None,
        excite: bool = False,
    ) -> None:
        depthwise = ConvNorm(inputs, inputs, kernel, stride=stride, groups=inputs, dilation=dilation, act=inner)
        middle = [SqueezeExcite(inputs, inputs // 4)] if excite else []
        super().__init__(depthwise, *middle, ConvNorm(inputs, outputs, 1, act=act))


class SqueezeExcite(nn.Layer):
    """Hu et al. 2018, arXiv:1709.01507: channels times a factor that the whole plane decides."""

    def __init__(self, channels: int, inside: int, *, act: str = "relu", gate: str = "hardsigmoid") -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.down, self.up = nn.Conv2D(channels, inside, 1), nn.Conv2D(inside, channels, 1)
        self.act, self.gate = ACTIVATIONS[act](), gate

    def forward(self, x):
        factor = self.up(self.act(self.down(self.pool(x))))
        if self.gate == "sigmoid":
            return x * F.sigmoid(factor)
        return x * F.hardsigmoid(factor, slope=0.2, offset=0.5)


class Classifier(nn.Sequential):
    """A mean over the plane, then one linear layer."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(inputs, classes))
