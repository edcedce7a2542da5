# SPDX-License-Identifier: Apache-2.0
"""The nets that the demo trains: plain `paddle.nn` layers that fit any small or large square image."""

from __future__ import annotations

from models.humanseg import HumanSeg
from models.lenet import LeNet
from models.mobilenet import MobileNet
from models.mobilenet_v2 import MobileNetV2
from models.picodet import PicoDet
from models.resnet import ResNet34, ResNet50
from models.yolov3 import YOLOv3

__all__ = ["FITTING", "MODELS", "SCALABLE", "build_model"]

# Named as PaddleSlim, PaddleSeg and PaddleDetection name them; the first of each kind is the default.
FITTING = {
    "classification": ("MobileNet", "LeNet", "MobileNetV2", "ResNet34", "ResNet50"),
    "segmentation": ("HumanSeg",),
    "detection": ("YOLOv3", "PicoDet"),
}
MODELS = tuple(name for names in FITTING.values() for name in names)
SCALABLE = ("MobileNet", "MobileNetV2", "HumanSeg", "YOLOv3", "PicoDet")  # take a width


def build_model(name: str, *, image_shape: tuple[int, int, int], classes: int, width: float = 1.0):
    """Build the layers of a model inside the current `program_guard`.

    Args:
        name: one of `MODELS`.
        image_shape: (channels, height, width) of one image; height and width are equal.
        classes: number of logits, of an image, a pixel or a box.
        width: channel multiplier, of `SCALABLE` only.
    """
    channels, size, _ = image_shape
    if name == "LeNet":
        return LeNet(channels, size, classes)
    for net in (HumanSeg, YOLOv3, PicoDet):
        if name == net.__name__:
            return net(channels, classes, width=width)
    if name in SCALABLE:
        net = MobileNet if name == "MobileNet" else MobileNetV2
        return net(channels, classes, width=width, strides=net.strides_for(size))
    if name in ("ResNet34", "ResNet50"):
        net = ResNet34 if name == "ResNet34" else ResNet50
        return net(channels, classes, stem_stride=4 if size >= 96 else 1)
    raise ValueError(f"`name` must be one of {', '.join(MODELS)}, got {name!r}")
