# SPDX-License-Identifier: Apache-2.0
"""Nets of the shapes that PaddleDetection, PaddleSeg and PaddleClas train, small, and data that is generated."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn


class ConvNorm(nn.Layer):
    """Convolution, batch norm and a functional hard swish; depthwise where `groups` says so."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2D(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias_attr=False)
        self.norm = nn.BatchNorm2D(outputs)

    def forward(self, x: Any) -> Any:
        return F.hardswish(self.norm(self.conv(x)))


class Separable(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(ConvNorm(inputs, inputs, 3, stride, groups=inputs), ConvNorm(inputs, outputs, 1))


class Excited(nn.Layer):
    """Squeeze and excitation behind a separable convolution, as PicoDet's backbone has them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = Separable(inputs, outputs, stride)
        self.squeeze, self.excite = nn.Conv2D(outputs, 4, 1), nn.Conv2D(4, outputs, 1)

    def forward(self, x: Any) -> Any:
        x = self.body(x)
        return x * F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))


class Scale(nn.Layer):
    """A factor that each level of the head has of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = self.create_parameter([1], default_initializer=nn.initializer.Constant(1.0))

    def forward(self, x: Any) -> Any:
        return x * self.factor


class Detector(nn.Layer):
    """Backbone, neck with a way up and a way down, and one head for both levels: a dict in, a dict out."""

    def __init__(self, classes: int = 3, width: int = 8) -> None:
        super().__init__()
        self.stem = ConvNorm(3, width, 3, 2)
        self.stages = nn.LayerList([Excited(width, width, 2), Excited(width, width * 2, 2)])
        self.lateral = ConvNorm(width * 2, width, 1)
        self.up, self.down, self.last = (
            Separable(width * 2, width),
            Separable(width, width, 2),
            Separable(width * 2, width),
        )
        self.tower = Separable(width, width)
        self.classify, self.regress = nn.Conv2D(width, classes, 1), nn.Conv2D(width, 4 * 8, 1)
        self.scales = nn.LayerList([Scale(), Scale()])

    def forward(self, inputs: dict[str, Any]) -> Any:
        high = self.stages[0](self.stem(inputs["image"]))
        low = self.lateral(self.stages[1](high))
        high = self.up(paddle.concat([high, F.interpolate(low, scale_factor=2)], 1))
        low = self.last(paddle.concat([low, self.down(high)], 1))
        levels = [self.tower(level) for level in (high, low)]
        scores = [self.classify(level) for level in levels]
        boxes = [scale(self.regress(level)) for scale, level in zip(self.scales, levels)]
        if not self.training:
            return {"scores": scores, "boxes": boxes}
        class_loss = sum(F.binary_cross_entropy_with_logits(s, paddle.zeros_like(s) + 0.1) for s in scores)
        box_loss = sum((F.softmax(b.reshape([b.shape[0], 4, 8, -1]), 2) - inputs["target"]).abs().mean() for b in boxes)
        return {"loss": class_loss + 0.25 * box_loss, "loss_class": class_loss, "loss_box": box_loss}


class Segmenter(nn.Layer):
    """Encoder and decoder with a skip, as HumanSeg has them: a list of logits."""

    def __init__(self, classes: int = 2, width: int = 8) -> None:
        super().__init__()
        self.first, self.second, self.third = (
            ConvNorm(3, width, 3, 2),
            Separable(width, width * 2, 2),
            Separable(width * 2, width * 2, 2),
        )
        self.up = nn.Conv2DTranspose(width * 2, width * 2, 2, 2, groups=2)
        self.decode = Separable(width * 4, width)
        self.head = nn.Conv2D(width, classes, 1)

    def forward(self, x: Any) -> list[Any]:
        size = x.shape[2:]
        skip = self.second(self.first(x))
        x = self.decode(paddle.concat([self.up(self.third(skip)), skip], 1))
        return [F.interpolate(self.head(x), size, mode="bilinear")]


class Pictures(paddle.io.Dataset):
    """Noise with labels, the same each time."""

    def __init__(self, kind: str, count: int = 16, size: int = 32) -> None:
        self.kind, self.count, self.size = kind, count, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Any:
        random = np.random.default_rng(i)
        image = random.normal(size=[3, self.size, self.size]).astype("float32")
        if self.kind == "boxes":
            return {"image": image, "target": np.full([4, 8, 1], 1 / 8, "float32")}
        shape = [self.size, self.size] if self.kind == "masks" else [1]
        return image, random.integers(0, 2, shape)
