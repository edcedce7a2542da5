"""The nets that the demo trains: plain `paddle.nn` layers that fit any small or large square image."""

from __future__ import annotations

from models.lenet import LeNet
from models.mobilenet import MobileNet
from models.resnet import ResNet50

__all__ = ["MODELS", "LeNet", "MobileNet", "ResNet50", "build_model"]

MODELS = ("LeNet", "MobileNet", "ResNet50")


def build_model(name: str, *, image_shape: tuple[int, int, int], classes: int, width: float = 1.0):
    """Build the layers of a model inside the current `program_guard`.

    Args:
        name: one of `MODELS`.
        image_shape: (channels, height, width) of one image; height and width are equal.
        classes: number of logits.
        width: channel multiplier, MobileNet only.
    """
    channels, size, _ = image_shape
    if name == "LeNet":
        return LeNet(channels, size, classes)
    if name == "MobileNet":
        return MobileNet(channels, classes, width=width, strides=MobileNet.strides_for(size))
    if name == "ResNet50":
        return ResNet50(channels, classes, stem_stride=4 if size >= 96 else 1)
    raise ValueError(f"`name` must be one of {', '.join(MODELS)}, got {name!r}")
