# SPDX-License-Identifier: Apache-2.0
"""Detectors up to what their heads return; choosing boxes (NMS) is left to whoever reads them."""

from __future__ import annotations

import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from .blocks import ConvNorm, Separable, wide
from .classifiers import LCNet, MobileNetV1


class _Leaky(nn.Layer):
    """Convolution, norm, leaky ReLU 0.1."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.body = ConvNorm(inputs, outputs, kernel, act=None)

    def forward(self, x):
        return F.leaky_relu(self.body(x), 0.1)


class YOLOv3(nn.Layer):
    """Redmon and Farhadi 2018, arXiv:1804.02767, on MobileNetV1; three planes of 3 anchors x (5 + classes)."""

    def __init__(self, width: float = 1.0, *, classes: int = 80) -> None:
        super().__init__()
        self.backbone = MobileNetV1(width)
        blocks, tips, outs, routes, extra = [], [], [], [], 0
        for i, inputs in enumerate(reversed(self.backbone.channels)):
            inside = wide(512 >> i, width)
            blocks.append(
                nn.Sequential(
                    _Leaky(inputs + extra, inside, 1),
                    _Leaky(inside, inside * 2, 3),
                    _Leaky(inside * 2, inside, 1),
                    _Leaky(inside, inside * 2, 3),
                    _Leaky(inside * 2, inside, 1),
                )
            )
            tips.append(_Leaky(inside, inside * 2, 3))
            outs.append(nn.Conv2D(inside * 2, 3 * (5 + classes), 1))
            if i < 2:
                extra = wide(256 >> i, width)
                routes.append(_Leaky(inside, extra, 1))
        self.blocks, self.tips = nn.LayerList(blocks), nn.LayerList(tips)
        self.outs, self.routes = nn.LayerList(outs), nn.LayerList(routes)

    def forward(self, x):
        planes, found, route = self.backbone(x), [], None
        for i in range(3):
            plane = planes[2 - i]
            if i > 0:
                route = F.interpolate(self.routes[i - 1](route), scale_factor=2.0)
                plane = paddle.concat([route, plane], axis=1)
            route = self.blocks[i](plane)
            found.append(self.outs[i](self.tips[i](route)))
        return tuple(found)


class _CrossStagePAN(nn.Layer):
    """PicoDet's neck: down by nearest resize, up by stride, and a fourth plane at stride 64."""

    def __init__(self, inputs: list[int], outputs: int) -> None:
        super().__init__()
        act = {"act": "hardswish", "inner": "hardswish"}
        self.even = nn.LayerList([ConvNorm(channels, outputs, 1, act="hardswish") for channels in inputs])

        def join():
            return nn.Sequential(
                Separable(2 * outputs, 2 * outputs, 5, **act), Separable(2 * outputs, outputs, 5, **act)
            )

        def shrink():
            return Separable(outputs, outputs, 5, stride=2, **act)

        self.down, self.up = nn.LayerList([join(), join()]), nn.LayerList([join(), join()])
        self.shrink = nn.LayerList([shrink(), shrink()])
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.top_first, self.top_second = shrink(), shrink()

    def forward(self, planes):
        low, middle, high = [even(plane) for even, plane in zip(self.even, planes)]
        inner = self.down[0](paddle.concat([self.upsample(high), middle], 1))
        first = self.down[1](paddle.concat([self.upsample(inner), low], 1))
        second = self.up[0](paddle.concat([self.shrink[0](first), inner], 1))
        third = self.up[1](paddle.concat([self.shrink[1](second), high], 1))
        return first, second, third, self.top_first(high) + self.top_second(third)


class _PicoHead(nn.Layer):
    """One stride's head: four separable layers, squeeze and excite, class scores times alignment, box distances."""

    def __init__(self, channels: int, classes: int, distances: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            *[Separable(channels, channels, 5, act="hardswish", inner="hardswish") for _ in range(4)]
        )
        self.gate, self.mix = nn.Conv2D(channels, channels, 1), ConvNorm(channels, channels, 1, act="hardswish")
        self.scores, self.boxes = nn.Conv2D(channels, classes, 1), nn.Conv2D(channels, 4 * distances, 1)
        self.align = nn.Sequential(
            nn.Conv2D(channels, channels, 5, padding=2, groups=channels), nn.ReLU(), nn.Conv2D(channels, 1, 1)
        )
        self.classes, self.distances = classes, distances

    def forward(self, x):
        x = self.convs(x)
        excited = self.mix(x * F.sigmoid(self.gate(F.adaptive_avg_pool2d(x, (1, 1)))))
        scores, boxes = self.scores(excited), self.boxes(excited)
        scores = (F.sigmoid(scores) * F.sigmoid(self.align(x)) + 1e-9).sqrt()
        scores = scores.reshape([0, self.classes, -1]).transpose([0, 2, 1])
        return scores, boxes.reshape([0, 4 * self.distances, -1]).transpose([0, 2, 1])


class PicoDet(nn.Layer):
    """PicoDet-m with LCNet: Yu et al. 2021, arXiv:2111.00902. Four planes' scores, then their boxes."""

    def __init__(self, width: float = 1.0, *, classes: int = 80) -> None:
        super().__init__()
        channels = wide(128, width)
        self.backbone = LCNet(1.5 * width, classes=None)
        self.neck = _CrossStagePAN(self.backbone.channels, channels)
        self.heads = nn.LayerList([_PicoHead(channels, classes, 8) for _ in range(4)])

    def forward(self, x):
        found = [head(plane) for head, plane in zip(self.heads, self.neck(self.backbone(x)))]
        return (*[scores for scores, _ in found], *[boxes for _, boxes in found])


class SSD(nn.Layer):
    """SSD on MobileNetV1, 300 x 300: Liu et al. 2016, arXiv:1512.02325. Boxes [n, anchors, 4] and class scores."""

    EXTRA = ((256, 512), (128, 256), (128, 256), (64, 128))

    def __init__(self, width: float = 1.0, *, classes: int = 21) -> None:
        super().__init__()
        self.backbone, self.classes = MobileNetV1(width), classes
        _, *channels = self.backbone.channels
        extra = []
        for inside, outputs in self.EXTRA:
            inside, outputs = wide(inside, width), wide(outputs, width)
            extra.append(nn.Sequential(ConvNorm(channels[-1], inside, 1), ConvNorm(inside, outputs, 3, stride=2)))
            channels.append(outputs)
        anchors = (3, 6, 6, 6, 6, 6)
        self.extra = nn.LayerList(extra)
        self.boxes = nn.LayerList([nn.Conv2D(one, many * 4, 1) for one, many in zip(channels, anchors)])
        self.scores = nn.LayerList([nn.Conv2D(one, many * classes, 1) for one, many in zip(channels, anchors)])

    def forward(self, x):
        _, *planes = self.backbone(x)
        for layer in self.extra:
            planes.append(layer(planes[-1]))
        boxes, scores = [], []
        for i, plane in enumerate(planes):
            boxes.append(self.boxes[i](plane).transpose([0, 2, 3, 1]).reshape([0, -1, 4]))
            scores.append(self.scores[i](plane).transpose([0, 2, 3, 1]).reshape([0, -1, self.classes]))
        return paddle.concat(boxes, axis=1), F.softmax(paddle.concat(scores, axis=1))
