# SPDX-License-Identifier: Apache-2.0
"""The nets by name: how each is built, what it reads, and how small it can be for a quick look."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable

import numpy as np

OPEN = -1


@dataclass(frozen=True)
class Input:
    """What a net reads.

    Attributes:
        shape: shape as its export declares it; -1 is open.
        full: shape of one sample in a measurement, without the batch.
        small: shape of one sample in a quick look.
        dtype: "float32" or "int64".
        below: integers are in [1, below).
    """

    shape: tuple[int, ...]
    full: tuple[int, ...]
    small: tuple[int, ...]
    dtype: str = "float32"
    below: int = 0

    def sample(self, random: np.random.Generator, batch: int, *, small: bool) -> np.ndarray:
        """Blurred noise of another mean and contrast in each channel of planes; integers for tokens."""
        shape = (batch, *(self.small if small else self.full))
        if self.below:
            return random.integers(1, self.below, shape).astype(self.dtype)
        noise = random.normal(size=shape).astype("float32")
        for axis in range(2, len(shape)):
            noise = (noise + np.roll(noise, 1, axis) + np.roll(noise, -1, axis)) / np.float32(1.7)
        each = (batch, shape[1], *[1] * (len(shape) - 2))
        return (noise * random.uniform(0.3, 1.5, each) + random.normal(size=each)).astype("float32")


@dataclass(frozen=True)
class Architecture:
    """A net of the list.

    Attributes:
        name: name in tables.
        task: what it is for.
        build: (width, further arguments) -> the layers.
        inputs: what it reads, in order.
        small: arguments of `build` for a quick look.
    """

    name: str
    task: str
    build: Callable[..., Any]
    inputs: tuple[Input, ...]
    small: dict[str, Any] = field(default_factory=lambda: {"width": 0.25})

    def samples(self, random: np.random.Generator, batch: int = 1, *, small: bool = False) -> list[np.ndarray]:
        return [one.sample(random, batch, small=small) for one in self.inputs]


def _images(channels: int, full: Any, small: Any, *, fixed: bool = False) -> tuple[Input, ...]:
    """Planes of open height and width, or of those of `full` or `small` if the net is built for one size."""
    height, width = (full, full) if isinstance(full, int) else full
    low, narrow = (small, small) if isinstance(small, int) else small
    shape = (OPEN, channels, OPEN, OPEN) if not fixed else (OPEN, channels, 0, 0)
    return (Input(shape, (channels, height, width), (channels, low, narrow)),)


def _tokens(length: int, *below: int) -> tuple[Input, ...]:
    return tuple(Input((OPEN, OPEN), (length,), (9,), "int64", one) for one in below)


def architectures() -> tuple[Architecture, ...]:
    """All nets. They are imported here, as paddle takes its time."""
    from . import classifiers, detectors, segmenters, sequences, text, tokens

    lines = (Input((OPEN, 3, 48, OPEN), (3, 48, 320), (3, 48, 64)),)
    crnn = (Input((OPEN, 3, 32, OPEN), (3, 32, 320), (3, 32, 64)),)
    return (
        Architecture("YOLOv3-MobileNetV1", "detector", detectors.YOLOv3, _images(3, 416, 64), {"width": 0.125}),
        Architecture("PicoDet-m", "detector", detectors.PicoDet, _images(3, 416, 128), {"width": 0.25}),
        Architecture("SSD-MobileNetV1", "detector", detectors.SSD, _images(3, 300, 96, fixed=True), {"width": 0.125}),
        Architecture("PP-HumanSeg-Lite", "segmenter", segmenters.HumanSegLite, _images(3, (144, 256), (48, 64))),
        Architecture("U-Net", "segmenter", segmenters.UNet, _images(3, 256, 48), {"width": 0.125}),
        Architecture("DeepLabV3+", "segmenter", segmenters.DeepLabV3Plus, _images(3, 256, 64), {"width": 0.125}),
        Architecture("PP-LiteSeg", "segmenter", segmenters.PPLiteSeg, _images(3, (256, 512), (64, 128))),
        Architecture("DB", "text detector", text.DB, _images(3, 640, 64)),
        Architecture("CRNN", "recogniser", text.CRNN, crnn, {"width": 0.5, "characters": 97}),
        Architecture("SVTR-LCNet", "recogniser", text.SVTRLCNet, lines, {"width": 0.4, "characters": 97}),
        Architecture(
            "SVTR-tiny",
            "recogniser",
            text.SVTR,
            _images(3, (32, 100), (32, 32), fixed=True),
            {"width": 0.5, "size": (32, 32), "depths": (1, 2, 1)},
        ),
        Architecture("ResNet50-vd", "classifier", classifiers.ResNetVD, _images(3, 224, 64), {"width": 0.125}),
        Architecture("ShuffleNetV2", "classifier", classifiers.ShuffleNetV2, _images(3, 224, 64)),
        Architecture("EfficientNet-B0", "classifier", classifiers.EfficientNet, _images(3, 224, 64)),
        Architecture("GhostNet", "classifier", classifiers.GhostNet, _images(3, 224, 64)),
        Architecture("MobileNetV3-small", "classifier", _small, _images(3, 224, 64)),
        Architecture("MobileNetV3-large", "classifier", _large, _images(3, 224, 64)),
        Architecture("PP-LCNet", "classifier", classifiers.LCNet, _images(3, 224, 64)),
        Architecture("BERT-base", "language", tokens.Bert, _tokens(128, 30522, 2), _few(depth=2, vocabulary=30522)),
        Architecture("GPT-small", "language", tokens.GPT, _tokens(128, 8192), _few(depth=2)),
        Architecture("DeiT-tiny", "classifier", tokens.DeiT, _images(3, 224, 64, fixed=True), _few(size=64, depth=2)),
        Architecture(
            "Swin-tiny", "classifier", tokens.Swin, _images(3, 224, 56, fixed=True), _few(size=56, depths=(2, 2))
        ),
        Architecture("LSTM tagger", "language", sequences.LSTMTagger, _tokens(64, 20000)),
        Architecture("ESPCN", "super-resolution", segmenters.ESPCN, _images(1, 128, 24)),
        Architecture("1-D ResNet", "signals", sequences.Signals, (Input((OPEN, 12, OPEN), (12, 4096), (12, 128)),)),
        Architecture(
            "3-D ResNet",
            "video",
            sequences.Video,
            (Input((OPEN, 3, 16, OPEN, OPEN), (3, 16, 112, 112), (3, 16, 32, 32)),),
            {"width": 0.125},
        ),
    )


def _few(**arguments: Any) -> dict[str, Any]:
    return {"width": 0.25, **arguments}


def _small(width: float = 1.0) -> Any:
    from .classifiers import SMALL, MobileNetV3

    return MobileNetV3(SMALL, width)


def _large(width: float = 1.0) -> Any:
    from .classifiers import LARGE, MobileNetV3

    return MobileNetV3(LARGE, width)
