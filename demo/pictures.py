# SPDX-License-Identifier: Apache-2.0
"""A picture with boxes, and what reading one from a user's disk can meet."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

import numpy as np
from PIL import Image, ImageOps

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


def read_rgb(file: Path, said: tuple[int | None, int | None] = (None, None)) -> np.ndarray:
    """Decode an image as [h, w, 3] uint8: gray, 16 bits, palette, transparent and CMYK ones too.

    It is turned as its EXIF tag says, as every viewer and OpenCV show it; unless it has the (height, width) that an
    annotation says only without that.

    Raises:
        ValueError: It cannot be decoded; the message names the file.
    """
    try:
        with Image.open(file) as read:
            shown = ImageOps.exif_transpose(read)
            image = read if said == read.size[::-1] != shown.size[::-1] else shown
            if image.mode.startswith("I"):  # 16 bits of gray, which PIL would cut at 255
                gray = (np.asarray(image) // 257).astype(np.uint8)
                return np.repeat(gray[..., None], 3, axis=2)
            return np.asarray(image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # PIL's ways to say: broken
        raise ValueError(f"{file} must be an image, but {error}; replace it, or take it out of the list") from error


def read_sized(file: Path, said: tuple[int | None, int | None], by: Path) -> np.ndarray:
    """The same, of the (height, width) that the file `by` says; 0 or None: it does not say.

    Raises:
        ValueError: It has another size; the message names both files.
    """
    pixels = read_rgb(file, said)
    if all(said) and said != pixels.shape[:2]:
        raise ValueError(
            f"{file} must be of {said[1]} x {said[0]} pixels as {by} says, got {pixels.shape[1]} x {pixels.shape[0]}; "
            "boxes would not fit: correct the file, or the image"
        )
    return pixels


def two_paths(line: str, folder: Path) -> list[str] | None:
    """The two paths of a line, below a folder; None if it has others.

    They are parted by a tab, or by the space where both files are there: paths may have spaces.
    """
    words = line.strip().split("\t" if "\t" in line else None)
    if len(words) == 2:
        return words
    for i in (i for i, letter in enumerate(line) if letter == " "):
        pair = [line[:i].strip(), line[i:].strip()]
        if all(word and (folder / word).is_file() for word in pair):
            return pair
    return None


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
