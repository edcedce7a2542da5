# SPDX-License-Identifier: Apache-2.0
"""Text: a detector of text regions, and three recognisers of text lines."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from .blocks import ConvNorm, Separable, wide
from .classifiers import LARGE, MobileNetV3
from .tokens import Attention, Mlp


class DB(nn.Layer):
    """Text regions, as PP-OCR's small detector: Liao et al. 2020, arXiv:1911.08947, on MobileNetV3-large x0.5."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        channels, quarter = wide(96, width), wide(96, width) // 4
        self.backbone = MobileNetV3(LARGE, 0.5 * width, classes=None, excite=False)
        self.even = nn.LayerList([nn.Conv2D(one, channels, 1, bias_attr=False) for one in self.backbone.channels])
        self.smooth = nn.LayerList(
            [nn.Conv2D(channels, quarter, 3, padding=1, bias_attr=False) for _ in self.backbone.channels]
        )
        self.head = nn.Sequential(
            ConvNorm(channels, quarter),
            nn.Conv2DTranspose(quarter, quarter, 2, stride=2),
            nn.BatchNorm2D(quarter),
            nn.ReLU(),
            nn.Conv2DTranspose(quarter, 1, 2, stride=2),
            nn.Sigmoid(),
        )

    def forward(self, x):
        planes = [even(plane) for even, plane in zip(self.even, self.backbone(x))]
        for i in range(2, -1, -1):
            planes[i] = planes[i] + F.upsample(planes[i + 1], scale_factor=2, mode="nearest", align_mode=1)
        found = [smooth(plane) for smooth, plane in zip(self.smooth, planes)]
        for i in range(1, 4):
            found[i] = F.upsample(found[i], scale_factor=1 << i, mode="nearest", align_mode=1)
        return self.head(paddle.concat(found[::-1], axis=1))


class CRNN(nn.Layer):
    """Shi et al. 2015, arXiv:1507.05717, as PP-OCR's small recogniser: MobileNetV3-small x0.5 and two BiLSTM."""

    def __init__(self, width: float = 1.0, *, characters: int = 6625, hidden: int = 48) -> None:
        super().__init__()
        self.backbone = MobileNetV3(width=0.5 * width, classes=None, tall=True)
        self.pool = nn.MaxPool2D(2, stride=2)
        hidden = wide(hidden, width)
        self.lstm = nn.LSTM(self.backbone.channels[-1], hidden, num_layers=2, direction="bidirectional")
        self.head = nn.Linear(2 * hidden, characters)

    def forward(self, x):
        plane = self.pool(self.backbone(x)[-1])
        tokens, _ = self.lstm(plane.squeeze(axis=2).transpose([0, 2, 1]))
        return F.softmax(self.head(tokens), axis=2)


class _MobileLine(nn.Layer):
    """MobileNetV1 x0.5 for text lines: strides shrink the height, hard-swish, 5x5, squeeze and excite at the end."""

    ROWS = (
        (64, 3, 1, False),
        (128, 3, 1, False),
        (128, 3, 1, False),
        (256, 3, (2, 1), False),
        (256, 3, 1, False),
        (512, 3, (2, 1), False),
        *[(512, 5, 1, False)] * 5,
        (1024, 5, (2, 1), True),
        (1024, 5, (1, 2), True),
    )

    def __init__(self, width: float) -> None:
        super().__init__()
        inputs = wide(32, 0.5 * width)
        layers = [ConvNorm(3, inputs, stride=2, act="hardswish")]
        for outputs, kernel, stride, excite in self.ROWS:
            outputs = wide(outputs, 0.5 * width)
            layers.append(
                Separable(inputs, outputs, kernel, stride=stride, act="hardswish", inner="hardswish", excite=excite)
            )
            inputs = outputs
        self.body, self.channels = nn.Sequential(*layers, nn.AvgPool2D(2, stride=2)), inputs

    def forward(self, x):
        return self.body(x)


class _PostNorm(nn.Layer):
    """Attention and two linear layers, a norm behind each sum."""

    def __init__(self, channels: int, heads: int, inside: int) -> None:
        super().__init__()
        self.mixer, self.mlp = Attention(channels, heads), Mlp(channels, inside, act="swish")
        self.first, self.second = nn.LayerNorm(channels, epsilon=1e-6), nn.LayerNorm(channels, epsilon=1e-6)

    def forward(self, x):
        x = self.first(x + self.mixer(x))
        return self.second(x + self.mlp(x))


class SVTRLCNet(nn.Layer):
    """PP-OCRv3's recogniser: MobileNetV1 for lines, two blocks of attention, CTC. Li et al. 2022, arXiv:2206.03001."""

    def __init__(self, width: float = 1.0, *, characters: int = 6625) -> None:
        super().__init__()
        self.backbone = _MobileLine(width)
        channels, hidden, dims = self.backbone.channels, wide(120, width), wide(64, width)
        small = channels // 8
        self.first, self.second = ConvNorm(channels, small, act="swish"), ConvNorm(small, hidden, 1, act="swish")
        self.blocks = nn.Sequential(*[_PostNorm(hidden, 8, 2 * hidden) for _ in range(2)])
        self.norm = nn.LayerNorm(hidden, epsilon=1e-6)
        self.third, self.fourth = (
            ConvNorm(hidden, channels, 1, act="swish"),
            ConvNorm(2 * channels, small, act="swish"),
        )
        self.last, self.head = ConvNorm(small, dims, 1, act="swish"), nn.Linear(dims, characters)
        self.hidden = hidden

    def forward(self, x):
        plane = self.backbone(x)
        inner = self.second(self.first(plane))
        _, _, height, width = inner.shape
        tokens = self.norm(self.blocks(inner.flatten(2).transpose([0, 2, 1])))
        inner = tokens.reshape([0, height, width, self.hidden]).transpose([0, 3, 1, 2])
        inner = self.last(self.fourth(paddle.concat([plane, self.third(inner)], axis=1)))
        return F.softmax(self.head(inner.squeeze(axis=2).transpose([0, 2, 1])), axis=2)


class SVTR(nn.Layer):
    """SVTR-tiny: attention within 7 x 11 characters, then over all. Du et al. 2022, arXiv:2205.00159.

    Args:
        width: factor of all channels.
        size: height and width of the lines.
        depths: blocks of each of the three stages.
        characters: number of characters.
    """

    def __init__(self, width: float = 1.0, *, size=(32, 100), depths=(3, 6, 3), characters: int = 37) -> None:
        super().__init__()
        channels = [wide(count, width, 32) for count in (64, 128, 256)]
        self.embed = nn.Sequential(
            ConvNorm(3, channels[0] // 2, stride=2, act="gelu"),
            ConvNorm(channels[0] // 2, channels[0], stride=2, act="gelu"),
        )
        height, line = size[0] // 4, size[1] // 4
        normal = nn.initializer.TruncatedNormal(std=0.02)
        self.position = self.create_parameter([1, height * line, channels[0]], default_initializer=normal)
        near, stages, merges = sum(depths) // 2, [], []
        for i, depth in enumerate(depths):
            blocks = []
            for _ in range(depth):
                mask = window_mask(height, line) if near > 0 else None
                blocks.append(_NormAttention(channels[i], channels[i] // 32, mask))
                near -= 1
            stages.append(nn.Sequential(*blocks))
            if i < 2:
                merges.append(_Merge(channels[i], channels[i + 1], (height, line)))
                height //= 2
        self.stages, self.merges = nn.LayerList(stages), nn.LayerList(merges)
        last = wide(192, width)
        self.height, self.line, self.channels = height, line, channels[-1]
        self.pool = nn.AdaptiveAvgPool2D([1, line])
        self.last = nn.Sequential(nn.Conv2D(channels[-1], last, 1, bias_attr=False), nn.Hardswish(), nn.Dropout(0.1))
        self.head = nn.Linear(last, characters)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose([0, 2, 1]) + self.position
        for i in range(3):
            x = self.stages[i](x)
            if i < 2:
                x = self.merges[i](x)
        x = x.transpose([0, 2, 1]).reshape([0, self.channels, self.height, self.line])
        x = self.last(self.pool(x))
        return F.softmax(self.head(x.squeeze(axis=2).transpose([0, 2, 1])), axis=2)


class _NormAttention(nn.Layer):
    """A norm behind each sum, as SVTR-tiny's `prenorm` has it in spite of its name."""

    def __init__(self, channels: int, heads: int, mask: np.ndarray | None) -> None:
        super().__init__()
        self.mixer, self.mlp = Attention(channels, heads, mask=mask), Mlp(channels, 4 * channels)
        self.first, self.second = nn.LayerNorm(channels, epsilon=1e-6), nn.LayerNorm(channels, epsilon=1e-6)

    def forward(self, x):
        x = self.first(x + self.mixer(x))
        return self.second(x + self.mlp(x))


class _Merge(nn.Layer):
    """Halves the height of tokens by a 3x3 convolution."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2D(inputs, outputs, 3, stride=(2, 1), padding=1), nn.LayerNorm(outputs)
        self.channels, (self.height, self.line) = inputs, size

    def forward(self, x):
        x = x.transpose([0, 2, 1]).reshape([0, self.channels, self.height, self.line])
        return self.norm(self.conv(x).flatten(2).transpose([0, 2, 1]))


def window_mask(height: int, line: int, window: tuple[int, int] = (7, 11)) -> np.ndarray:
    """0 where two places are in one window of each other, minus infinity elsewhere; [1, 1, places, places]."""
    y, x = np.divmod(np.arange(height * line), line)
    near = (abs(y[:, None] - y) <= window[0] // 2) & (abs(x[:, None] - x) <= window[1] // 2)
    return np.where(near, 0.0, -np.inf).astype("float32")[None, None]
