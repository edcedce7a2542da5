# SPDX-License-Identifier: Apache-2.0
"""Images as an image model takes them: a folder of files, or made ones with the statistics of natural scenes."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Sequence

import numpy as np

from ..arguments import path, whole
from ..saved_model import Model
from .inputs import dtype_of

_log = logging.getLogger(__name__)

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
_OTHERS = (".gif", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".jfif", ".dng")
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation of red, green and blue
_AROUND = 256 / 224  # what ImageNet's nets are tested with: the shorter side at 256, and the middle of 224 cut out


@dataclass(frozen=True)
class ImageInput:
    """How a model takes images.

    Attributes:
        name: of the input.
        channels, height, width: of one image.
        channels_last: whether channels are the last axis.
        dtype: of the arrays.
    """

    name: str
    channels: int
    height: int
    width: int
    channels_last: bool
    dtype: str

    @classmethod
    def of(cls, model: Model, size: Sequence[int] | None = None) -> ImageInput:
        """The kind of images that the model's one input takes.

        Args:
            model: the model.
            size: height and width, where the model leaves them open.

        Raises:
            ValueError: It takes no images of one or three channels, or leaves their size open and none is given, or
                wants another.
        """
        name, value = next(iter(model.inputs.items()))
        shape, dtype = list(value.shape), dtype_of(value)
        axis = next((i for i in (1, 3) if len(shape) == 4 and shape[i] in (1, 3)), None)
        if len(model.inputs) != 1 or axis is None or not (dtype.startswith("float") or dtype == "uint8"):
            given = ", ".join(f"{n} {list(v.shape)} {dtype_of(v)}" for n, v in model.inputs.items())
            raise ValueError(
                f"the model must take images, [n, 3, height, width] say, got {given}; give arrays instead."
            )
        asked = shape[2:] if axis == 1 else shape[1:3]
        found = [want if want > 0 else n for want, n in zip(asked, size or (0, 0))]
        if min(found) <= 0:
            raise ValueError(
                f"`image_size` must be given: the model leaves the size of its input {name!r} open, {shape}."
            )
        if size is not None and list(size) != found:
            raise ValueError(f"`image_size` must be what the model takes, {asked}, got {list(size)}.")
        return cls(name, shape[axis], found[0], found[1], axis == 3, dtype)

    def batch(self, images: np.ndarray) -> np.ndarray:
        """Images [n, channels, height, width] as the model takes them."""
        turned = np.moveaxis(images, 1, 3) if self.channels_last else images
        return np.ascontiguousarray(turned, self.dtype)


def read_images(
    folder: Any,
    wanted: ImageInput,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    count: int = 256,
) -> np.ndarray:
    """Read images, spread evenly over the sorted files of a folder and its subfolders, hidden ones left out.

    The shorter side is scaled to 8/7 of the size, and the middle cut out; x = (pixel / 255 - mean) / std.

    Args:
        folder: the folder.
        wanted: how the model takes them; of uint8 it is given pixels as they are.
        mean, std: one number, or one for each channel. Default: ImageNet's for three channels, else 0 and 1.
        count: images at most.

    Returns:
        [n, channels, height, width] or [n, height, width, channels].

    Raises:
        ModuleNotFoundError: Pillow is not installed.
        FileNotFoundError: There is no image.
        ValueError: A file is no image, or `mean` or `std` do not fit.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise ModuleNotFoundError(
            'a folder of images needs Pillow: pip install "paddle_unstructured[images]"; or give a .npy file.'
        ) from error
    whole("count", count, least=1)
    is_raw = wanted.dtype == "uint8"
    if is_raw and (mean is not None or std is not None):
        raise ValueError("`mean` and `std` must be left out for a model that takes uint8: it has them itself.")
    usual = IMAGENET if wanted.channels == 3 else ((0.0,), (1.0,))
    middle = _per_channel("mean", usual[0] if mean is None else mean, wanted.channels)
    spread = _per_channel("std", usual[1] if std is None else std, wanted.channels)
    if (spread <= 0).any():
        raise ValueError(f"`std` must be above 0, got {spread.ravel().tolist()}.")
    # A Mac puts "._a.jpg" beside "a.jpg" into archives, which is no image.
    found = [file for file in Path(path("folder", folder)).rglob("*") if not file.name.startswith(".")]
    files = sorted(file for file in found if file.suffix.lower() in ENDINGS)
    others = sorted(file.name for file in found if file.suffix.lower() in _OTHERS)
    if others:
        _log.warning(
            "%d images of other kinds than %s are left out, %s", len(others), ", ".join(ENDINGS), ", ".join(others[:3])
        )
    if not files:
        rule = f"a folder of images, files that end in {', '.join(ENDINGS)}"
        raise FileNotFoundError(f"`folder` must be {rule}, got {os.fspath(folder)}, where there is none.")
    chosen = [files[i * len(files) // min(count, len(files))] for i in range(min(count, len(files)))]
    images = []
    for file in chosen:
        try:
            with Image.open(file) as opened:
                upright = _of_bytes(ImageOps.exif_transpose(opened), Image)
                image = upright.convert("RGB" if wanted.channels == 3 else "L")
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"{file} must be an image, and Pillow cannot read it: {error}") from error
        larger = (round(wanted.width * _AROUND), round(wanted.height * _AROUND))
        scale = max(larger[0] / image.width, larger[1] / image.height)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
        left, top = (image.width - wanted.width) // 2, (image.height - wanted.height) // 2
        image = image.crop((left, top, left + wanted.width, top + wanted.height))
        pixels = np.asarray(image).reshape(wanted.height, wanted.width, -1).transpose(2, 0, 1)
        images.append(pixels if is_raw else ((pixels / np.float32(255) - middle) / spread).astype(np.float32))
    return wanted.batch(np.stack(images))


def _of_bytes(image: Any, pillow: Any) -> Any:
    """Grey levels of 16 bits in 8, which Pillow would cut off at 255; ValueError for other pixels than 8 or 16 bits."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return pillow.fromarray(np.rint(np.asarray(image) / np.float32(257)).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are of mode {image.mode}; save it with 8 bits, or give a .npy file")
    return image


def made_images(wanted: ImageInput, count: int = 256, seed: int = 0) -> np.ndarray:
    """Images of nothing, with what real ones have in common: dead leaves, discs that cover each other, over 1/f noise.

    Colours of a disc and of the noise are alike in all channels, mostly; each channel has mean 0 and variance 1 over
    all images (of uint8: 118 and a deviation of 58, as photographs have).

    Args:
        wanted: how the model takes them.
        count: images.
        seed: the same seed gives the same images.

    Source: Ruderman 1994 (statistics of natural images); Lee, Mumford & Huang 2001 (dead leaves); Baradad et al. 2021,
        arXiv:2106.05963 (nets learn from both).
    """
    random = np.random.default_rng(seed)
    shape = (wanted.channels, wanted.height, wanted.width)
    rows, columns = np.mgrid[: wanted.height, : wanted.width]
    frequency = np.hypot(np.fft.fftfreq(wanted.height)[:, None], np.fft.rfftfreq(wanted.width)[None, :])
    frequency[0, 0] = np.inf
    images = np.empty((count, *shape), np.float32)  # of large ones 256 fill gigabytes
    for made in images:
        image = np.empty(shape)
        image[:] = random.normal() + 0.3 * random.normal(size=(shape[0], 1, 1))
        for _ in range(int(random.integers(4, 24))):
            radius = min(0.03 * min(shape[1:]) / random.uniform(0.003, 1.0) ** 0.5, 0.5 * min(shape[1:]))  # r^-3
            down, across = random.uniform(0, wanted.height), random.uniform(0, wanted.width)
            inside = (rows - down) ** 2 + (columns - across) ** 2 < radius**2
            image[:, inside] = random.normal() + 0.3 * random.normal(size=(shape[0], 1))
        noise = random.normal(size=shape) + 2.0 * random.normal(size=(1, *shape[1:]))
        steepness = random.uniform(0.8, 1.6)
        texture = np.fft.irfft2(np.fft.rfft2(noise) / frequency**steepness, s=shape[1:])
        made[:] = image + 0.7 * texture / max(float(texture.std()), 1e-12)
    middle = images.mean((0, 2, 3), np.float64, keepdims=True)
    squares = np.mean([np.square(made - middle[0]).mean((1, 2)) for made in images], 0).reshape(middle.shape)
    spread = np.maximum(squares**0.5, 1e-12)
    for made in images:
        made[:] = (made - middle[0]) / spread[0]
        if wanted.dtype == "uint8":
            np.clip(np.rint(118 + 58 * made), 0, 255, out=made)
    return wanted.batch(images)


def _per_channel(name: str, given: Sequence[float], channels: int) -> np.ndarray:
    if len(given) not in (1, channels) or not np.isfinite(given).all():
        raise ValueError(f"`{name}` must be one finite number, or {channels}, one for each channel, got {list(given)}.")
    return np.broadcast_to(np.asarray(given, np.float32), channels).reshape(-1, 1, 1)
