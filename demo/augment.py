# SPDX-License-Identifier: Apache-2.0
"""Changes of a training picture that keep its boxes true: colour, more ground around, a part of it, its mirror image.

Source: Liu et al., "SSD", 2016, arXiv:1512.02325, section 2.2 (data augmentation), as YOLOv3 is trained in Paddle.
"""

from __future__ import annotations

import numpy as np
from pictures import Picture
from PIL import Image, ImageEnhance

GROUND = (124, 116, 104)  # the mean colour of photos
OVERLAPS = (0.1, 0.3, 0.5, 0.7, 0.9)  # that a part must have with some box
TRIES = 50


def augment(picture: Picture, rng: np.random.Generator) -> Picture:
    """All of them, each by chance."""
    picture = Picture(recolour(picture.pixels, rng), picture.boxes, picture.kinds, picture.counted)
    if rng.random() < 0.5:
        picture = expand(picture, rng)
    if rng.random() < 0.8:
        picture = crop(picture, rng)
    return mirror(picture) if rng.random() < 0.5 else picture


def recolour(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and saturation times 0.6 to 1.4, each in half of the cases."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        if rng.random() < 0.5:
            image = change(image).enhance(rng.uniform(0.6, 1.4))
    return np.asarray(image)


def expand(picture: Picture, rng: np.random.Generator, most: float = 2.0) -> Picture:
    """Put the picture somewhere on ground of up to `most` times its height and width."""
    height, width = picture.size
    factor = rng.uniform(1, most)
    tall, wide = round(height * factor), round(width * factor)
    top, left = rng.integers(0, tall - height + 1), rng.integers(0, wide - width + 1)
    canvas = np.empty((tall, wide, 3), np.uint8)
    canvas[:] = GROUND
    canvas[top : top + height, left : left + width] = picture.pixels
    return Picture(canvas, picture.boxes + np.float32([left, top, left, top]), picture.kinds, picture.counted)


def crop(picture: Picture, rng: np.random.Generator) -> Picture:
    """Take a part of 0.3 to 1 of each side that has enough of some box; boxes whose centres are outside are left out.

    A picture in which no such part is found, or without boxes, stays whole.
    """
    height, width = picture.size
    if not len(picture.boxes):
        return picture
    least = rng.choice(OVERLAPS)
    for _ in range(TRIES):
        tall, wide = (max(1, round(side * rng.uniform(0.3, 1))) for side in (height, width))
        if not 0.5 <= tall / wide <= 2:
            continue
        top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
        part = np.float32([left, top, left + wide, top + tall])
        middle = (picture.boxes[:, :2] + picture.boxes[:, 2:]) / 2
        kept = ((middle > part[:2]) & (middle < part[2:])).all(axis=1)
        if not kept.any() or overlap(picture.boxes[kept], part).max() < least:
            continue
        cut = picture.chosen(kept)
        boxes = cut.boxes.clip([*part[:2], *part[:2]], [*part[2:], *part[2:]]) - np.tile(part[:2], 2)
        return Picture(picture.pixels[top : top + tall, left : left + wide], boxes, cut.kinds, cut.counted)
    return picture


def overlap(boxes: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes [k, 4] and one box."""
    both = (np.minimum(boxes[:, 2:], part[2:]) - np.maximum(boxes[:, :2], part[:2])).clip(0).prod(1)
    return both / ((boxes[:, 2:] - boxes[:, :2]).prod(1) + (part[2:] - part[:2]).prod() - both)


def mirror(picture: Picture) -> Picture:
    """Left becomes right."""
    width = picture.size[1]
    left, top, right, bottom = picture.boxes.T
    boxes = np.stack([width - right, top, width - left, bottom], axis=1)
    return Picture(picture.pixels[:, ::-1], boxes, picture.kinds, picture.counted)
