# SPDX-License-Identifier: Apache-2.0
"""Scenes of small objects, for segmentation and detection, as make_scenes.py makes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 10  # of objects; in masks 0 is the ground, and an object of class c is c + 1
MOST = 8  # boxes of one image
MEAN, STD = np.float32(110.0), np.float32(60.0)


class Scenes:
    """Scenes in memory.

    Args:
        file: what make_scenes.py wrote for one split.
        boxes: labels are boxes; else masks.
    """

    def __init__(self, file: Path, *, boxes: bool) -> None:
        with np.load(file) as stored:
            self.images, self.masks = stored["images"], stored["masks"]
            self.places, self.classes = stored["boxes"], stored["classes"]
        self.boxes = boxes

    def __len__(self) -> int:
        return len(self.images)

    def fetch(self, indices: np.ndarray, rng: np.random.Generator | None) -> tuple[np.ndarray, ...]:
        """Images [n, 3, h, w], and masks [n, h, w] int64, or boxes [n, MOST, 4] and classes [n, MOST] int32.

        Boxes are (centre x, centre y, width, height) in fractions of the image; those that are not there are zeros.
        """
        images = (self.images[indices].astype(np.float32) - MEAN) / STD
        mirror = np.zeros(len(images), bool) if rng is None else rng.random(len(images)) < 0.5
        images[mirror] = images[mirror][..., ::-1]
        if not self.boxes:
            masks = self.masks[indices].astype(np.int64)
            masks[mirror] = masks[mirror][..., ::-1]
            return np.ascontiguousarray(images), masks
        places = self.places[indices].copy()
        there = places[..., 2] > 0
        places[..., 0] = np.where(mirror[:, None] & there, 1 - places[..., 0], places[..., 0])
        return np.ascontiguousarray(images), places, self.classes[indices]


def compose(
    objects: np.ndarray, labels: np.ndarray, count: int, *, size: int, seed: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Put objects at random places and scales on textured ground.

    Args:
        objects: [n, h, w] uint8, bright on black.
        labels: [n] classes below `CLASSES`.
        count: scenes to make.
        size: height and width of a scene.
        seed: of all that is random.

    Returns:
        images [count, 3, size, size] uint8; masks [count, size, size] uint8; boxes [count, MOST, 4] float32 and
        classes [count, MOST] int32, as `Scenes.fetch` gives them.
    """
    rng = np.random.default_rng(seed)
    images = np.empty((count, 3, size, size), np.uint8)
    masks = np.zeros((count, size, size), np.uint8)
    boxes, classes = np.zeros((count, MOST, 4), np.float32), np.zeros((count, MOST), np.int32)
    for i in range(count):
        canvas, taken = _ground(rng, size), 0
        for _ in range(rng.integers(1, 5)):
            which = rng.integers(len(objects))
            side = int(size * rng.uniform(0.2, 0.5))
            shape = np.asarray(Image.fromarray(objects[which]).resize((side, side), Image.BILINEAR), np.float32) / 255
            solid = shape > 0.2
            if not solid.any():
                continue
            top, left = rng.integers(0, size - side + 1, 2)
            where = (slice(top, top + side), slice(left, left + side))
            rows, columns = solid.any(1).nonzero()[0], solid.any(0).nonzero()[0]
            if (masks[i][where][solid] > 0).mean() > 0.2:  # it would hide another one
                continue
            tint = rng.uniform(0.5, 1.0, 3)[:, None, None] * 255
            canvas[(slice(None), *where)] = np.where(solid, tint * (0.35 + 0.65 * shape), canvas[(slice(None), *where)])
            masks[i][where][solid] = labels[which] + 1
            low, high = np.array([left + columns[0], top + rows[0]]), np.array([left + columns[-1], top + rows[-1]]) + 1
            boxes[i, taken] = [*((low + high) / 2 / size), *((high - low) / size)]
            classes[i, taken] = labels[which]
            taken += 1
        images[i] = np.clip(canvas + rng.normal(0, 6, canvas.shape), 0, 255).astype(np.uint8)
    return {"images": images, "masks": masks, "boxes": boxes, "classes": classes}


def _ground(rng: np.random.Generator, size: int) -> np.ndarray:
    """Smooth coloured noise, darker than most objects."""
    coarse = rng.uniform(20, 130, (3, 5, 5)).astype(np.float32)
    planes = [np.asarray(Image.fromarray(plane).resize((size, size), Image.BICUBIC)) for plane in coarse]
    fine = rng.uniform(-20, 20, (size // 4 + 1, size // 4 + 1)).astype(np.float32)
    texture = np.asarray(Image.fromarray(fine).resize((size, size), Image.BILINEAR))
    return np.stack(planes) + texture
