# SPDX-License-Identifier: Apache-2.0
"""Pictures with boxes as batches for a detector."""

from __future__ import annotations

from typing import Sequence

import numpy as np
from augment import augment
from pictures import Picture
from PIL import Image
from scenes import MEAN, STD


class BoxSource:
    """A data set of `Picture`s as a `data.Source`: resized to one size, augmented where that is asked for.

    Args:
        pictures: `Coco`, `Voc`, or a data set of your own that has a length and gives a `Picture` for a number.
        size: (height, width) of what comes out.
        most: boxes of a training image; of more, the largest are taken.
    """

    def __init__(self, pictures: Sequence[Picture], *, size: tuple[int, int], most: int) -> None:
        self.pictures, self.size, self.most = pictures, size, most

    def __len__(self) -> int:
        return len(self.pictures)

    def fetch(self, indices: np.ndarray, rng: np.random.Generator | None) -> tuple[np.ndarray, ...]:
        """Images [n, 3, h, w], boxes [n, k, 4] and classes [n, k] int32.

        Boxes are (centre x, centre y, width, height) in fractions of the image, zeros where there is none; k is `most`
        in training, else what the fullest image has. A class below 0, -1 - class, marks a box that is not counted.
        """
        read = [self.pictures[int(i)] for i in indices]
        if rng is not None:
            read = [self._trained_on(augment(each.chosen(each.counted), rng)) for each in read]
        many = max(1, *(len(each.kinds) for each in read)) if rng is None else self.most
        boxes, kinds = np.zeros((len(read), many, 4), np.float32), np.zeros((len(read), many), np.int32)
        for i, each in enumerate(read):
            boxes[i, : len(each.boxes)] = fractions(each)
            kinds[i, : len(each.kinds)] = np.where(each.counted, each.kinds, -1 - each.kinds)
        return np.stack([resized(each.pixels, self.size) for each in read]), boxes, kinds

    def _trained_on(self, picture: Picture) -> Picture:
        if len(picture.boxes) <= self.most:
            return picture
        areas = (picture.boxes[:, 2:] - picture.boxes[:, :2]).prod(1)
        return picture.chosen(np.sort(np.argsort(-areas, kind="stable")[: self.most]))


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[h, w, 3] uint8 → [3, *size] float32, normalised."""
    height, width = size
    image = Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height), Image.BILINEAR)
    return (np.asarray(image, np.float32).transpose(2, 0, 1) - MEAN) / STD


def fractions(picture: Picture) -> np.ndarray:
    """(centre x, centre y, width, height) in fractions of the image, [k, 4]."""
    height, width = picture.size
    low, high = picture.boxes[:, :2], picture.boxes[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1) / np.float32([width, height, width, height])
