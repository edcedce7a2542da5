# SPDX-License-Identifier: Apache-2.0
"""Nets that return a value for each pixel: segmentation, and one super-resolution."""

from __future__ import annotations

import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from .blocks import ConvNorm, Separable, wide
from .classifiers import ResNetVD, shuffle


def resize_like(x, other):
    return F.interpolate(x, paddle.shape(other)[2:], mode="bilinear", align_corners=False)


class _Shuffled(nn.Layer):
    """HumanSeg-Lite's unit: half of the channels (or, where it shrinks, two branches), then a channel shuffle."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        half, self.stride = outputs // 2, stride
        branch = inputs if stride == 2 else inputs // 2
        self.shortcut = self._separable(inputs, half, stride) if stride == 2 else None
        self.main = nn.Sequential(ConvNorm(branch, half, 1), self._separable(half, half, stride))

    @staticmethod
    def _separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        return Separable(inputs, outputs, stride=stride)

    def forward(self, x):
        if self.shortcut is None:
            shortcut, branch = paddle.split(x, 2, axis=1)
        else:
            shortcut, branch = self.shortcut(x), x
        return shuffle(paddle.concat([shortcut, self.main(branch)], axis=1))


class HumanSegLite(nn.Layer):
    """PP-HumanSeg-Lite, as PaddleSeg has it (Chu et al. 2021, arXiv:2112.07146); scores by softmax."""

    def __init__(self, width: float = 1.0, *, classes: int = 2) -> None:
        super().__init__()
        stem, side = wide(36, width, 4), wide(18, width, 2)
        first, second, last = wide(72, width, 4), wide(144, width, 4), wide(64, width, 4)
        self.stem, self.side = ConvNorm(3, stem, stride=2), ConvNorm(stem, side, 1)
        self.first = nn.Sequential(
            _Shuffled(stem, first, stride=2), *[_Shuffled(first, first, stride=1) for _ in range(3)]
        )
        self.second = nn.Sequential(
            _Shuffled(first, second, stride=2), *[_Shuffled(second, second, stride=1) for _ in range(7)]
        )
        self.reduce, self.join = Separable(second, last), Separable(last + side, last)
        self.out = Separable(last, classes)

    def forward(self, x):
        stem = self.stem(x)
        side = self.side(stem)
        inner = self.second(self.first(F.max_pool2d(stem, kernel_size=3, stride=2, padding=1)))
        inner = resize_like(self.reduce(inner), side)
        logits = self.out(self.join(paddle.concat([side, inner], axis=1)))
        return F.softmax(resize_like(logits, x), axis=1)


class UNet(nn.Layer):
    """Ronneberger et al. 2015, arXiv:1505.04597, with padding and bilinear resizing as PaddleSeg has it; logits."""

    def __init__(self, width: float = 1.0, *, classes: int = 19) -> None:
        super().__init__()
        counts = [wide(count, width) for count in (64, 128, 256, 512, 512)]
        self.stem = self._double(3, counts[0])
        self.down = nn.LayerList([self._double(a, b) for a, b in zip(counts, counts[1:])])
        above = [counts[4], counts[2], counts[1], counts[0]]
        below = [counts[2], counts[1], counts[0], counts[0]]
        self.up = nn.LayerList([self._double(a + skip, b) for a, skip, b in zip(above, counts[3::-1], below)])
        self.out = nn.Conv2D(counts[0], classes, 3, padding=1)

    @staticmethod
    def _double(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(ConvNorm(inputs, outputs), ConvNorm(outputs, outputs))

    def forward(self, x):
        x, skips = self.stem(x), []
        for layer in self.down:
            skips.append(x)
            x = layer(F.max_pool2d(x, kernel_size=2, stride=2))
        for i, layer in enumerate(self.up):
            x = layer(paddle.concat([resize_like(x, skips[3 - i]), skips[3 - i]], axis=1))
        return self.out(x)


class DeepLabV3Plus(nn.Layer):
    """Chen et al. 2018, arXiv:1802.02611, on ResNet-50-vd at stride 8; the class of each pixel."""

    def __init__(self, width: float = 1.0, *, classes: int = 19) -> None:
        super().__init__()
        self.backbone = ResNetVD(width, dilations=(1, 1, 2, 4), classes=None)
        low, *_, high = self.backbone.channels
        inside, small = wide(256, width), wide(48, width)
        self.branches = nn.LayerList(
            [ConvNorm(high, inside, 1), *[Separable(high, inside, dilation=d) for d in (12, 24, 36)]]
        )
        self.plane = nn.Sequential(nn.AdaptiveAvgPool2D(1), ConvNorm(high, inside, 1))
        self.mix = nn.Sequential(ConvNorm(inside * 5, inside, 1), nn.Dropout(0.1))
        self.low = ConvNorm(low, small, 1)
        self.join = nn.Sequential(Separable(inside + small, inside), Separable(inside, inside))
        self.out = nn.Conv2D(inside, classes, 1)

    def forward(self, x):
        low, _, _, high = self.backbone(x)
        found = [branch(high) for branch in self.branches]
        found.append(resize_like(self.plane(high), high))
        mixed = self.mix(paddle.concat(found, axis=1))
        low = self.low(low)
        joined = self.join(paddle.concat([resize_like(mixed, low), low], axis=1))
        return paddle.argmax(resize_like(self.out(joined), x), axis=1)


class _CatBottleneck(nn.Layer):
    """STDC's unit: four convolutions whose outputs are concatenated, each half as wide as the last."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        half, quarter, eighth = outputs // 2, outputs // 4, outputs // 8
        self.first = ConvNorm(inputs, half, 1)
        self.shrink = ConvNorm(half, half, stride=2, groups=half, act=None) if stride == 2 else None
        self.skip = nn.AvgPool2D(3, stride=2, padding=1) if stride == 2 else None
        self.rest = nn.LayerList([ConvNorm(half, quarter), ConvNorm(quarter, eighth), ConvNorm(eighth, eighth)])

    def forward(self, x):
        first = self.first(x)
        x = first if self.shrink is None else self.shrink(first)
        found = [first if self.skip is None else self.skip(first)]
        for layer in self.rest:
            x = layer(x)
            found.append(x)
        return paddle.concat(found, axis=1)


class _SpatialAttention(nn.Layer):
    """PP-LiteSeg's fusion: two planes weighed by a map of their means and maxima over channels."""

    def __init__(self, low: int, high: int, outputs: int) -> None:
        super().__init__()
        self.low = ConvNorm(low, high)
        self.attention = nn.Sequential(ConvNorm(4, 2), ConvNorm(2, 1, act=None))
        self.out = ConvNorm(high, outputs)

    def forward(self, low, high):
        low = self.low(low)
        high = resize_like(high, low)
        found = []
        for one in (low, high):
            found += [paddle.mean(one, axis=1, keepdim=True), paddle.max(one, axis=1, keepdim=True)]
        weight = F.sigmoid(self.attention(paddle.concat(found, axis=1)))
        return self.out(low * weight + high * (1 - weight))


class PPLiteSeg(nn.Layer):
    """PP-LiteSeg-T on STDC1: Peng et al. 2022, arXiv:2204.02681. The class of each pixel, as int32."""

    def __init__(self, width: float = 1.0, *, classes: int = 19) -> None:
        super().__init__()
        stem, inputs = wide(32, width), wide(64, width)
        self.stem = nn.Sequential(ConvNorm(3, stem, stride=2), ConvNorm(stem, inputs, stride=2))
        stages, channels = [], []
        for outputs in (256, 512, 1024):
            outputs = wide(outputs, width)
            stages.append(
                nn.Sequential(_CatBottleneck(inputs, outputs, stride=2), _CatBottleneck(outputs, outputs, stride=1))
            )
            inputs = outputs
            channels.append(outputs)
        self.stages = nn.LayerList(stages)
        inside, outs = wide(128, width), [wide(count, width) for count in (32, 64, 128)]
        self.pools = nn.LayerList(
            [nn.Sequential(nn.AdaptiveAvgPool2D(size), ConvNorm(inputs, inside, 1)) for size in (1, 2, 4)]
        )
        self.context = ConvNorm(inside, inside)
        self.fuse = nn.LayerList(
            [_SpatialAttention(low, high, out) for low, high, out in zip(channels, [*outs[1:], inside], outs)]
        )
        self.out = nn.Sequential(ConvNorm(outs[0], outs[0]), nn.Conv2D(outs[0], classes, 1, bias_attr=False))

    def forward(self, x):
        plane, found = self.stem(x), []
        for stage in self.stages:
            plane = stage(plane)
            found.append(plane)
        context = resize_like(self.pools[0](plane), plane)
        for i in range(1, 3):
            context = context + resize_like(self.pools[i](plane), plane)
        context = self.context(context)
        for i in range(2, -1, -1):
            context = self.fuse[i](found[i], context)
        return paddle.argmax(resize_like(self.out(context), x), axis=1, dtype="int32")


class ESPCN(nn.Layer):
    """Super-resolution x 3: three convolutions and a pixel shuffle. Shi et al. 2016, arXiv:1609.05158."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        first, second = wide(64, width), wide(32, width)
        self.body = nn.Sequential(
            nn.Conv2D(1, first, 5, padding=2),
            nn.Tanh(),
            nn.Conv2D(first, second, 3, padding=1),
            nn.Tanh(),
            nn.Conv2D(second, 9, 3, padding=1),
            nn.PixelShuffle(3),
        )

    def forward(self, x):
        return self.body(x)
