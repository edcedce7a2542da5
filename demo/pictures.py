# SPDX-License-Identifier: Apache-2.0
"""A picture with boxes, and what reading one from a user's disk can meet."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

import numpy as np
from PIL import Image

log = logging.getLogger("train")


@dataclass(frozen=True)
class Picture:
    """Pixels [h, w, 3] uint8 and its objects: boxes [k, 4] float32, (left, top, right, bottom) in pixels; kinds [k].

    `counted` [k]: False for a crowd or a difficult object, which is neither trained on nor scored.
    """

    pixels: np.ndarray
    boxes: np.ndarray
    kinds: np.ndarray
    counted: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)"""
        return self.pixels.shape[:2]

    def chosen(self, which: np.ndarray) -> Picture:
        """With some of its objects."""
        return Picture(self.pixels, self.boxes[which], self.kinds[which], self.counted[which])


def read_rgb(file: Path) -> np.ndarray:
    """Decode an image as [h, w, 3] uint8: gray, 16 bits, palette, transparent and CMYK ones too.

    Raises:
        ValueError: It cannot be decoded; the message names the file.
    """
    try:
        with Image.open(file) as image:
            if image.mode.startswith("I"):  # 16 bits of gray, which PIL would cut at 255
                gray = (np.asarray(image) // 257).astype(np.uint8)
                return np.repeat(gray[..., None], 3, axis=2)
            return np.asarray(image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:  # PIL's ways to say that a file is broken
        raise ValueError(f"{file} must be an image, but {error}; replace it, or take it out of the list") from error


def must_be_there(files: Sequence[Path], listed_in: Path) -> None:
    """Refuse a list of files that are not all there.

    Raises:
        ValueError: The message names the first ones.
    """
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise ValueError(
            f"{listed_in} lists {len(missing)} of {len(files)} files that are not there: {shown}; "
            "put them there, or take them out of the list"
        )


def inside(boxes: np.ndarray, size: tuple[int, int], where: str) -> tuple[np.ndarray, np.ndarray]:
    """Cut boxes [k, 4] at the edges of an image, and say which are left; those that are not are logged.

    Raises:
        ValueError: A box is not of finite numbers.
    """
    if not np.isfinite(boxes).all():
        bad = boxes[~np.isfinite(boxes).all(axis=1)][0]
        raise ValueError(f"boxes must be finite numbers, got {bad.tolist()} in {where}; correct it there")
    height, width = size
    cut = boxes.clip(0, np.float32([width, height, width, height])).astype(np.float32)
    left = ((cut[:, 2:] - cut[:, :2]) >= 1).all(axis=1)
    for box in boxes[~left]:
        log.warning(
            "%s: a box of less than one pixel in the image of %d x %d is left out: %s", where, width, height, box
        )
    return cut, left
