# SPDX-License-Identifier: Apache-2.0
"""ImageNet as Paddle users have it: a folder with images and lists of 'relative/path.jpg label'."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 1000
SIZE = 224
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


class ImageFolder:
    """The images of one list file, decoded when they are asked for.

    Args:
        listing: train_list.txt or val_list.txt; its paths are relative to its folder.
    """

    def __init__(self, listing: Path):
        lines = [line for line in enumerate(listing.read_text().splitlines(), 1) if line[1].strip()]
        self.entries = [parse(line, f"{listing}:{number}") for number, line in lines]
        self.folder = listing.parent
        if not self.entries:
            raise ValueError(f"{listing} must list images as 'relative/path.jpg label', but it is empty")

    def __len__(self) -> int:
        return len(self.entries)

    def fetch(self, indices: np.ndarray, rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
        chosen = [self.entries[index] for index in indices]
        images = np.stack([self.read(path, rng) for path, _ in chosen])
        return images, np.array([[label] for _, label in chosen], np.int64)

    def read(self, path: str, rng: np.random.Generator | None) -> np.ndarray:
        """Decode one image, crop it and normalise it: [3, 224, 224] float32."""
        with Image.open(self.folder / path) as file:
            image = file.convert("RGB")
        image = centre_crop(image) if rng is None else random_crop(image, rng)
        pixels = (np.asarray(image, np.float32) / 255 - MEAN) / STD
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def parse(line: str, where: str) -> tuple[str, int]:
    """Split 'relative/path.jpg label'; a path may contain spaces."""
    path, _, label = line.strip().rpartition(" ")
    if not path or not label.isdigit() or int(label) >= CLASSES:
        raise ValueError(
            f"a line must be 'relative/path.jpg label' with label in 0..{CLASSES - 1}, got {line!r} at {where}"
        )
    return path, int(label)


def random_crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Resize a random 8 to 100 % of the image, with a side ratio of 3/4 to 4/3, to 224x224; mirror half of them."""
    width, height = image.size
    area = width * height * rng.uniform(0.08, 1)
    ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    w = min(width, max(1, round(math.sqrt(area * ratio))))
    h = min(height, max(1, round(math.sqrt(area / ratio))))
    left, top = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
    crop = image.resize((SIZE, SIZE), Image.BILINEAR, box=(left, top, left + w, top + h))
    return crop.transpose(Image.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop


def centre_crop(image: Image.Image) -> Image.Image:
    """Resize the short side to 256 and cut the 224x224 in the middle."""
    scale = 256 / min(image.size)
    width, height = (max(256, round(side * scale)) for side in image.size)
    left, top = (width - SIZE) // 2, (height - SIZE) // 2
    return image.resize((width, height), Image.BILINEAR).crop((left, top, left + SIZE, top + SIZE))
