# SPDX-License-Identifier: Apache-2.0
"""Image classifiers that are common on small devices, and one ResNet; also the backbones of detectors."""

from __future__ import annotations

import paddle
import paddle.nn as nn
import paddle.nn.functional as F

from .blocks import Classifier, ConvNorm, Pair, Separable, SqueezeExcite, wide


class MobileNetV1(nn.Layer):
    """Howard et al. 2017, arXiv:1704.04861. Returns the planes at strides 8, 16 and 32."""

    STAGES = (((64, 1), (128, 2), (128, 1), (256, 2), (256, 1)), ((512, 2), *[(512, 1)] * 5), ((1024, 2), (1024, 1)))

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        inputs = wide(32, width)
        self.stem, stages = ConvNorm(3, inputs, stride=2), []
        self.channels = []
        for stage in self.STAGES:
            layers = []
            for outputs, stride in stage:
                outputs = wide(outputs, width)
                layers.append(Separable(inputs, outputs, stride=stride, inner="relu"))
                inputs = outputs
            stages.append(nn.Sequential(*layers))
            self.channels.append(inputs)
        self.stages = nn.LayerList(stages)

    def forward(self, x):
        x, found = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


class Bottleneck(nn.Layer):
    """1x1, 3x3, 1x1 beside a shortcut; a shortcut that shrinks is a mean of 2x2 before its 1x1 ("vd")."""

    def __init__(self, inputs: int, inside: int, *, stride: int, dilation: int = 1, shortcut: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvNorm(inputs, inside, 1),
            ConvNorm(inside, inside, 3, stride=stride, dilation=dilation),
            ConvNorm(inside, inside * 4, 1, act=None),
        )
        mean = [nn.AvgPool2D(2, 2, ceil_mode=True)] if stride == 2 else []
        self.shortcut = nn.Sequential(*mean, ConvNorm(inputs, inside * 4, 1, act=None)) if shortcut else None

    def forward(self, x):
        return F.relu(self.body(x) + (x if self.shortcut is None else self.shortcut(x)))


class ResNetVD(nn.Layer):
    """ResNet-50 with a stem of three 3x3 and means in its shortcuts: He et al. 2018, arXiv:1812.01187.

    Args:
        width: factor of all channels.
        dilations: dilation of each stage; a dilated stage keeps its size, as segmentation has it.
        classes: number of logits; None returns the planes of all stages instead.
    """

    def __init__(self, width: float = 1.0, *, dilations=(1, 1, 1, 1), classes: int | None = 1000) -> None:
        super().__init__()
        stem, inputs = wide(32, width), wide(64, width)
        self.stem = nn.Sequential(
            ConvNorm(3, stem, stride=2), ConvNorm(stem, stem), ConvNorm(stem, inputs), nn.MaxPool2D(3, 2, 1)
        )
        stages, self.channels = [], []
        for i, (repeats, dilation) in enumerate(zip((3, 4, 6, 3), dilations)):
            inside, layers = wide(64 << i, width), []
            for j in range(repeats):
                stride = 2 if j == 0 and i and dilation == 1 else 1
                layers.append(Bottleneck(inputs, inside, stride=stride, dilation=dilation, shortcut=j == 0))
                inputs = inside * 4
            stages.append(nn.Sequential(*layers))
            self.channels.append(inputs)
        self.stages = nn.LayerList(stages)
        self.head = Classifier(inputs, classes) if classes else None

    def forward(self, x):
        x, found = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found if self.head is None else self.head(x)


class InvertedResidual(nn.Layer):
    """MobileNetV3's and EfficientNet's: expand by 1x1, depthwise, squeeze and excite, project by 1x1."""

    def __init__(
        self,
        inputs: int,
        inside: int,
        outputs: int,
        *,
        kernel: int,
        stride: Pair,
        act: str,
        excite: int = 0,
        gate: str = "hardsigmoid",
        expand: bool = True,
        same: bool = False,
    ) -> None:
        super().__init__()
        padding = "SAME" if same else None
        depthwise = ConvNorm(inside, inside, kernel, stride=stride, groups=inside, act=act, padding=padding)
        middle = [SqueezeExcite(inside, excite, act=act if gate == "sigmoid" else "relu", gate=gate)] if excite else []
        first = [ConvNorm(inputs, inside, 1, act=act)] if expand else []
        self.body = nn.Sequential(*first, depthwise, *middle, ConvNorm(inside, outputs, 1, act=None))
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.body(x) if self.is_residual else self.body(x)


# kernel, inside, outputs, squeeze and excite, activation, stride
LARGE = (
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "hardswish", 2),
    (3, 200, 80, False, "hardswish", 1),
    (3, 184, 80, False, "hardswish", 1),
    (3, 184, 80, False, "hardswish", 1),
    (3, 480, 112, True, "hardswish", 1),
    (3, 672, 112, True, "hardswish", 1),
    (5, 672, 160, True, "hardswish", 2),
    (5, 960, 160, True, "hardswish", 1),
    (5, 960, 160, True, "hardswish", 1),
)
SMALL = (
    (3, 16, 16, True, "relu", 2),
    (3, 72, 24, False, "relu", 2),
    (3, 88, 24, False, "relu", 1),
    (5, 96, 40, True, "hardswish", 2),
    (5, 240, 40, True, "hardswish", 1),
    (5, 240, 40, True, "hardswish", 1),
    (5, 120, 48, True, "hardswish", 1),
    (5, 144, 48, True, "hardswish", 1),
    (5, 288, 96, True, "hardswish", 2),
    (5, 576, 96, True, "hardswish", 1),
    (5, 576, 96, True, "hardswish", 1),
)


def _hardswish_head(inputs: int, middle: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.AdaptiveAvgPool2D(1),
        nn.Conv2D(inputs, middle, 1, bias_attr=False),
        nn.Hardswish(),
        nn.Dropout(0.2),
        nn.Flatten(),
        nn.Linear(middle, classes),
    )


class MobileNetV3(nn.Layer):
    """Howard et al. 2019, arXiv:1905.02244.

    Args:
        rows: `LARGE` or `SMALL`.
        width: factor of all channels.
        stem_stride: stride of the first layer.
        classes: number of logits; None returns planes instead: those before each stride of 2, and the last.
        excite: whether squeeze and excite is there.
        tall: whether strides behind the stem shrink the height only, as in recognisers of text lines.
        images: channels of the input.
    """

    def __init__(
        self, rows=SMALL, width: float = 1.0, *, classes: int | None = 1000, excite: bool = True, tall: bool = False,
        images: int = 3, stem_stride: int = 2,
    ) -> None:  # fmt: skip
        super().__init__()
        inputs = wide(16, width)
        self.stem = ConvNorm(images, inputs, stride=stem_stride, act="hardswish")
        stages, layers, self.channels = [], [], []
        for i, (kernel, inside, outputs, has, act, stride) in enumerate(rows):
            if stride == 2 and i > 2:
                stages.append(nn.Sequential(*layers))
                self.channels.append(inputs)
                layers = []
            inside, outputs = wide(inside, width), wide(outputs, width)
            layers.append(
                InvertedResidual(
                    inputs,
                    inside,
                    outputs,
                    kernel=kernel,
                    stride=((1 if i == 0 else 2), 1) if tall and stride == 2 else stride,
                    act=act,
                    excite=wide(inside // 4, 1.0, 4) if has and excite else 0,
                )
            )
            inputs = outputs
        last = wide(rows[-1][1], width)
        layers.append(ConvNorm(inputs, last, 1, act="hardswish"))
        stages.append(nn.Sequential(*layers))
        self.channels.append(last)
        self.stages = nn.LayerList(stages)
        middle = wide(1280 if rows is LARGE else 1024, width) if classes else 0
        self.head = _hardswish_head(last, middle, classes) if classes else None

    def forward(self, x):
        x, found = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found if self.head is None else self.head(x)


# outputs, kernel, stride, squeeze and excite; of stages that end at strides 4, 8, 16 and 32
LCNET = (
    ((32, 3, 1, False), (64, 3, 2, False), (64, 3, 1, False)),
    ((128, 3, 2, False), (128, 3, 1, False)),
    ((256, 3, 2, False), *[(256, 5, 1, False)] * 5),
    ((512, 5, 2, True), (512, 5, 1, True)),
)


class LCNet(nn.Layer):
    """PP-LCNet: Cui et al. 2021, arXiv:2109.15099. Without classes, the planes at strides 8, 16 and 32."""

    def __init__(
        self, width: float = 1.0, *, classes: int | None = 1000, images: int = 3, stem_stride: int = 2
    ) -> None:
        super().__init__()
        inputs = wide(16, width)
        self.stem, stages, self.channels = ConvNorm(images, inputs, stride=stem_stride, act="hardswish"), [], []
        for stage in LCNET:
            layers = []
            for outputs, kernel, stride, excite in stage:
                outputs = wide(outputs, width)
                layers.append(
                    Separable(inputs, outputs, kernel, stride=stride, act="hardswish", inner="hardswish", excite=excite)
                )
                inputs = outputs
            stages.append(nn.Sequential(*layers))
            self.channels.append(inputs)
        self.stages, self.channels = nn.LayerList(stages), self.channels[1:]
        self.head = _hardswish_head(inputs, 1280, classes) if classes else None

    def forward(self, x):
        x, found = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found[1:] if self.head is None else self.head(x)


class ShuffleUnit(nn.Layer):
    """Half of the channels pass, the other half is computed; then both are shuffled."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        half, self.stride = outputs // 2, stride
        self.main = nn.Sequential(
            ConvNorm(inputs if stride == 2 else half, half, 1),
            ConvNorm(half, half, 3, stride=stride, groups=half, act=None),
            ConvNorm(half, half, 1),
        )
        self.side = Separable(inputs, half, stride=2) if stride == 2 else None

    def forward(self, x):
        if self.side is None:
            left, right = paddle.split(x, 2, axis=1)
            joined = paddle.concat([left, self.main(right)], axis=1)
        else:
            joined = paddle.concat([self.side(x), self.main(x)], axis=1)
        return shuffle(joined)


def shuffle(x):
    """Channels (2, half) as (half, 2): by a reshape, a transpose and a reshape, with sizes read in the graph."""
    channels, (height, width) = x.shape[1], paddle.shape(x)[2:]
    x = paddle.reshape(x, [0, 2, channels // 2, height, width])
    x = paddle.transpose(x, [0, 2, 1, 3, 4])
    return paddle.reshape(x, [0, channels, height, width])


class ShuffleNetV2(nn.Layer):
    """Ma et al. 2018, arXiv:1807.11164, width 1.0."""

    def __init__(self, width: float = 1.0, *, classes: int = 1000) -> None:
        super().__init__()
        inputs = wide(24, width)
        layers = [ConvNorm(3, inputs, stride=2), nn.MaxPool2D(3, 2, 1)]
        for outputs, repeats in ((116, 4), (232, 8), (464, 4)):
            outputs = wide(outputs, width)
            for j in range(repeats):
                layers.append(ShuffleUnit(inputs, outputs, stride=1 if j else 2))
                inputs = outputs
        last = wide(1024, width)
        self.body = nn.Sequential(*layers, ConvNorm(inputs, last, 1))
        self.head = Classifier(last, classes)

    def forward(self, x):
        return self.head(self.body(x))


class EfficientNet(nn.Layer):
    """EfficientNet-B0 with TensorFlow's SAME padding, as Paddle exports it: Tan and Le 2019, arXiv:1905.11946."""

    STAGES = (  # expansion, outputs, repeats, stride of the first, kernel
        (1, 16, 1, 1, 3),
        (6, 24, 2, 2, 3),
        (6, 40, 2, 2, 5),
        (6, 80, 3, 2, 3),
        (6, 112, 3, 1, 5),
        (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3),
    )

    def __init__(self, width: float = 1.0, *, classes: int = 1000) -> None:
        super().__init__()
        inputs = wide(32, width)
        layers = [ConvNorm(3, inputs, stride=2, act="swish", padding="SAME")]
        for expansion, outputs, repeats, stride, kernel in self.STAGES:
            outputs = wide(outputs, width)
            for j in range(repeats):
                layers.append(
                    InvertedResidual(
                        inputs,
                        inputs * expansion,
                        outputs,
                        kernel=kernel,
                        stride=1 if j else stride,
                        act="swish",
                        excite=max(1, inputs // 4),
                        gate="sigmoid",
                        expand=expansion > 1,
                        same=True,
                    )
                )
                inputs = outputs
        last = wide(1280, width)
        self.body = nn.Sequential(*layers, ConvNorm(inputs, last, 1, act="swish", padding="SAME"))
        self.head = Classifier(last, classes)

    def forward(self, x):
        return self.head(self.body(x))


class Ghost(nn.Layer):
    """Half of the outputs by a 1x1, the other half from them by one filter per channel."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, *, act: str | None = "relu") -> None:
        super().__init__()
        half = outputs // 2
        self.primary = ConvNorm(inputs, half, kernel, act=act)
        self.cheap = ConvNorm(half, half, 3, groups=half, act=act)

    def forward(self, x):
        primary = self.primary(x)
        return paddle.concat([primary, self.cheap(primary)], axis=1)


class GhostExcite(nn.Layer):
    """Squeeze and excite by linear layers, a clip and an unsqueeze."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(channels, channels // 4), nn.Linear(channels // 4, channels)

    def forward(self, x):
        pooled = paddle.squeeze(F.adaptive_avg_pool2d(x, 1), axis=[2, 3])
        factor = paddle.clip(self.up(F.relu(self.down(pooled))), min=0, max=1)
        return paddle.multiply(x, paddle.unsqueeze(factor, axis=[2, 3]))


class GhostBottleneck(nn.Layer):
    def __init__(self, inputs: int, inside: int, outputs: int, *, kernel: int, stride: int, excite: bool) -> None:
        super().__init__()
        shrink = [ConvNorm(inside, inside, kernel, stride=2, groups=inside, act=None)] if stride == 2 else []
        self.body = nn.Sequential(
            Ghost(inputs, inside),
            *shrink,
            *([GhostExcite(inside)] if excite else []),
            Ghost(inside, outputs, act=None),
        )
        passes = stride == 1 and inputs == outputs
        self.shortcut = None if passes else Separable(inputs, outputs, kernel, stride=stride, act=None)

    def forward(self, x):
        return paddle.add(self.body(x), x if self.shortcut is None else self.shortcut(x))


# kernel, inside, outputs, squeeze and excite, stride
GHOST = (
    (3, 16, 16, False, 1),
    (3, 48, 24, False, 2),
    (3, 72, 24, False, 1),
    (5, 72, 40, True, 2),
    (5, 120, 40, True, 1),
    (3, 240, 80, False, 2),
    (3, 200, 80, False, 1),
    (3, 184, 80, False, 1),
    (3, 184, 80, False, 1),
    (3, 480, 112, True, 1),
    (3, 672, 112, True, 1),
    (5, 672, 160, True, 2),
    (5, 960, 160, False, 1),
    (5, 960, 160, True, 1),
    (5, 960, 160, False, 1),
    (5, 960, 160, True, 1),
)


class GhostNet(nn.Layer):
    """Han et al. 2020, arXiv:1911.11907."""

    def __init__(
        self, width: float = 1.0, *, classes: int = 1000, images: int = 3, stem_stride: int = 2, rows=GHOST
    ) -> None:
        super().__init__()
        inputs = wide(16, width)
        layers = [ConvNorm(images, inputs, stride=stem_stride)]
        for kernel, inside, outputs, excite, stride in rows:
            inside, outputs = wide(inside, width), wide(outputs, width)
            layers.append(GhostBottleneck(inputs, inside, outputs, kernel=kernel, stride=stride, excite=excite))
            inputs = outputs
        last, middle = wide(960, width), wide(1280, width)
        self.body = nn.Sequential(*layers, ConvNorm(inputs, last, 1))
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2D(1),
            ConvNorm(last, middle, 1),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(middle, classes),
        )

    def forward(self, x):
        return self.head(self.body(x))
