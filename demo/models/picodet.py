# SPDX-License-Identifier: Apache-2.0
"""PicoDet-m: an LCNet, planes that are mixed down and up in cross-stage layers (CSP-PAN), one head for every point.

Source: Yu et al., "PP-PicoDet: A Better Real-Time Object Detector on Mobile Devices", 2021, arXiv:2111.00902; the
backbone: Cui et al., "PP-LCNet", 2021, arXiv:2109.15099; the head's distances: Li et al., "Generalized Focal Loss",
2020, arXiv:2006.04388.
"""

from __future__ import annotations

import math

import paddle
import paddle.nn as nn
import paddle.nn.functional as F

STRIDES = (8, 16, 32, 64)
DISTANCES = 8  # a side is 0 to 7 strides away from its point
# (channels, kernel, stride, squeeze and excite); a plane is taken behind each of the last three stages
STAGES = (
    ((32, 3, 1, False), (64, 3, 2, False), (64, 3, 1, False)),
    ((128, 3, 2, False), (128, 3, 1, False)),
    ((256, 3, 2, False), *[(256, 5, 1, False)] * 5),
    ((512, 5, 2, True), (512, 5, 1, True)),
)


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch norm, hard swish."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1) -> None:
        convolution = nn.Conv2D(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias_attr=False)
        super().__init__(convolution, nn.BatchNorm2D(outputs), nn.Hardswish())


class Separable(nn.Sequential):
    """A filter per channel, perhaps a factor per channel that the whole plane decides, then a 1x1 mix."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, excite: bool = False) -> None:
        middle = [Excite(inputs)] if excite else []
        super().__init__(
            ConvNorm(inputs, inputs, kernel, stride=stride, groups=inputs), *middle, ConvNorm(inputs, outputs)
        )


class Excite(nn.Layer):
    """Squeeze and excite: channels times a factor that the mean of the plane decides."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2D(channels, channels // 4, 1), nn.Conv2D(channels // 4, channels, 1)

    def forward(self, x):
        return x * F.hardsigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))


class CrossStage(nn.Layer):
    """Half of the channels pass by a 1x1, the other half are convolved too; both are mixed again."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.beside, self.into = ConvNorm(inputs, half), ConvNorm(inputs, half)
        self.through = nn.Sequential(ConvNorm(half, half), Separable(half, half, 5))
        self.mix = ConvNorm(2 * half, outputs)

    def forward(self, x):
        return self.mix(paddle.concat([self.through(self.into(x)), self.beside(x)], axis=1))


class CrossStagePAN(nn.Layer):
    """Planes of strides 8, 16, 32 → four planes of `outputs` channels, strides 8 to 64: first down, then up again."""

    def __init__(self, inputs: list[int], outputs: int) -> None:
        super().__init__()

        def shrink() -> Separable:
            return Separable(outputs, outputs, 5, stride=2)

        self.even = nn.LayerList([ConvNorm(channels, outputs) for channels in inputs])
        self.down = nn.LayerList([CrossStage(2 * outputs, outputs) for _ in range(2)])
        self.up = nn.LayerList([CrossStage(2 * outputs, outputs) for _ in range(2)])
        self.shrink = nn.LayerList([shrink(), shrink()])
        self.top, self.above = shrink(), shrink()

    def forward(self, planes):
        low, middle, high = (even(plane) for even, plane in zip(self.even, planes))
        inner = self.down[0](paddle.concat([enlarged(high), middle], axis=1))
        first = self.down[1](paddle.concat([enlarged(inner), low], axis=1))
        second = self.up[0](paddle.concat([self.shrink[0](first), inner], axis=1))
        third = self.up[1](paddle.concat([self.shrink[1](second), high], axis=1))
        return first, second, third, self.top(high) + self.above(third)


def enlarged(plane):
    return F.interpolate(plane, scale_factor=2, mode="nearest")


class PicoDet(nn.Layer):
    """[n, channels, h, w] → four planes [n, classes + 4 x DISTANCES, h/s, w/s], s of STRIDES; the last is rounded up.

    Channels are the logits of the classes, then for each side (left, top, right, bottom) the logits of how far it is.

    Args:
        channels: channels of the image; h and w are multiples of 32.
        classes: classes of a box.
        width: multiplies every layer's channels; 1.0 is PicoDet-m.
    """

    def __init__(self, channels: int, classes: int, *, width: float = 1.0) -> None:
        super().__init__()

        def scaled(outputs: float) -> int:
            return max(8, int(outputs * width + 4) // 8 * 8)

        inputs, stages, found = scaled(1.5 * 16), [], []
        self.stem = ConvNorm(channels, inputs, 3, stride=2)
        for stage in STAGES:
            layers = []
            for outputs, kernel, stride, excite in stage:
                layers.append(Separable(inputs, scaled(1.5 * outputs), kernel, stride=stride, excite=excite))
                inputs = scaled(1.5 * outputs)
            stages.append(nn.Sequential(*layers))
            found.append(inputs)
        inside = scaled(128)
        self.stages, self.neck = nn.LayerList(stages), CrossStagePAN(found[1:], inside)
        self.towers = nn.LayerList([nn.Sequential(*[Separable(inside, inside, 5) for _ in range(4)]) for _ in STRIDES])
        small = paddle.ParamAttr(initializer=nn.initializer.Normal(std=0.01))
        rare = [-math.log(99)] * classes + [0.0] * 4 * DISTANCES  # at first a class has probability 0.01
        first = paddle.ParamAttr(initializer=nn.initializer.Assign(rare))
        self.outs = nn.LayerList([nn.Conv2D(inside, len(rare), 1, weight_attr=small, bias_attr=first) for _ in STRIDES])

    def forward(self, x):
        x, planes = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            planes.append(x)
        planes = self.neck(planes[1:])
        return [out(tower(plane)) for out, tower, plane in zip(self.outs, self.towers, planes)]
