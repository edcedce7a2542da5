# SPDX-License-Identifier: Apache-2.0
"""Your own images with masks, as PaddleSeg lists them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from augment import recolour
from box_source import resized
from pictures import must_be_there, read_rgb, two_paths
from PIL import Image

LOOKED_AT = 20  # masks, before a run
UNMARKED = 255  # of a mask: the pixel does not count
LEAST_PART = 0.6  # of a side, that a training image keeps


class MaskFolder:
    """Images with masks on disk: lines 'images/a.jpg masks/a.png', paths below the list.

    Args:
        listing: train.txt or val.txt.
        size: (height, width) that images and masks are resized to.
        classes: number of classes; a mask is an image of class numbers, 255 where it does not count.

    Raises:
        ValueError: A line is none of these, files are missing, or masks are of 0 and 255.
    """

    def __init__(self, listing: Path, *, size: tuple[int, int], classes: int) -> None:
        self.folder, self.size, self.classes = listing.parent, size, classes
        text = listing.read_text(encoding="utf-8-sig")
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        found = [(number, two_paths(line, self.folder)) for number, line in lines]
        wrong = [number for number, words in found if words is None]
        if wrong or not lines:
            what = f"another in line {wrong[0]}" if wrong else "none"
            raise ValueError(
                f"{listing} must have lines 'image mask', got {what}; with spaces in paths, both files must be there"
            )
        self.entries = lines = [words for _, words in found if words]
        must_be_there([self.folder / word for words in lines for word in words], listing)
        seen = {int(one) for _, mask in lines[:LOOKED_AT] for one in np.unique(self._mask(mask))}
        if seen == {0, UNMARKED} and classes == 2:
            raise ValueError(
                f"masks must hold class numbers, but the first {min(LOOKED_AT, len(lines))} of {listing} hold only 0 "
                f"and 255, which is 'not counted': there would be nothing to learn; write 1 where they say 255"
            )

    def __len__(self) -> int:
        return len(self.entries)

    def fetch(self, indices: np.ndarray, rng: np.random.Generator | None) -> tuple[np.ndarray, ...]:
        """Images [n, 3, h, w] and masks [n, h, w] int64; of training images a part in other colours, half mirrored."""
        read = [self._read(*self.entries[i], rng) for i in indices]
        return np.stack([image for image, _ in read]), np.stack([mask for _, mask in read])

    def _mask(self, name: str) -> np.ndarray:
        try:
            with Image.open(self.folder / name) as file:
                mask = np.asarray(file)
        except (OSError, SyntaxError) as error:
            raise ValueError(f"{self.folder / name} must be an image of class numbers, but {error}") from error
        mask = mask.astype(np.uint8) if mask.dtype == bool else mask
        if mask.ndim != 2 or mask[mask != UNMARKED].max(initial=0) >= self.classes:
            raise ValueError(
                f"{self.folder / name} must hold class numbers below {self.classes} (255: not counted) in one channel"
            )
        return mask.astype(np.uint8)

    def _read(self, image: str, mask: str, rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
        classes = self._mask(mask)
        pixels = read_rgb(self.folder / image, classes.shape)
        if pixels.shape[:2] != classes.shape:
            raise ValueError(
                f"{self.folder / mask} must be as large as its image {image}, got {classes.shape[::-1]} instead of "
                f"{pixels.shape[1::-1]} pixels"
            )
        if rng is not None:
            height, width = classes.shape
            tall, wide = (max(1, round(side * rng.uniform(LEAST_PART, 1))) for side in (height, width))
            top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
            where = (slice(top, top + tall), slice(left, left + wide))
            pixels, classes = recolour(pixels[where], rng), classes[where]
            if rng.random() < 0.5:
                pixels, classes = pixels[:, ::-1], classes[:, ::-1]
        height, width = self.size
        nearest = Image.fromarray(np.ascontiguousarray(classes)).resize((width, height), Image.NEAREST)
        return resized(pixels, self.size), np.asarray(nearest, np.int64)
