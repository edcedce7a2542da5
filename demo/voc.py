# SPDX-License-Identifier: Apache-2.0
"""Boxes as Pascal VOC has them: a folder of images, and one xml file for each."""

from __future__ import annotations

import xml.etree.ElementTree as Tree
from pathlib import Path

import numpy as np
import paddle
from pictures import Picture, inside, must_be_there, read_sized, two_paths

CLASSES = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep "
    "sofa train tvmonitor"
).split()
# Below --data_dir: PaddleDetection's lists of 'image xml', or VOC's own of names without endings.
LISTS = {
    "train": ("trainval.txt", "train.txt", "ImageSets/Main/trainval.txt", "ImageSets/Main/train.txt"),
    "test": ("test.txt", "val.txt", "ImageSets/Main/test.txt", "ImageSets/Main/val.txt"),
}
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp")
LABELS = "label_list.txt"  # one class a line; without it, VOC's 20


class Voc(paddle.io.Dataset):
    """The images of one list; items are `Picture`s, made of image and xml file when they are asked for.

    Args:
        listing: lines 'JPEGImages/a.jpg Annotations/a.xml' below its folder, or 'a' in ImageSets/Main.
        classes: names of the classes 0, 1, ...

    Raises:
        ValueError: A line is neither, or files are missing.
    """

    def __init__(self, listing: Path, classes: list[str]) -> None:
        self.number, self.listing = {name: i for i, name in enumerate(classes)}, listing
        text = listing.read_text(encoding="utf-8-sig")  # Windows writes a mark at the start
        lines = [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
        if not lines:
            raise ValueError(f"{listing} must list images, but it is empty")
        self.files = [self._files(line, f"line {number} of {listing}") for number, line in lines]
        must_be_there([file for pair in self.files for file in pair], listing)

    def _files(self, line: str, where: str) -> tuple[Path, Path]:
        if self.listing.parent.name == "Main":
            folder = self.listing.parents[2]
            images = [folder / "JPEGImages" / f"{line}{ending}" for ending in ENDINGS]
            image = next((image for image in images if image.is_file()), images[0])
            return image, folder / "Annotations" / f"{line}.xml"
        words = two_paths(line, self.listing.parent)
        if words is None:
            raise ValueError(
                f"a line must be 'image xml', got {line!r} in {where}; with spaces in paths, both files must be there"
            )
        return self.listing.parent / words[0], self.listing.parent / words[1]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Picture:
        image, xml = self.files[index]
        try:
            root = Tree.parse(xml).getroot()
        except Tree.ParseError as error:
            raise ValueError(f"{xml} must be xml as VOC has it, but {error}; correct it") from error
        height, width = (int(number(root, f"size/{side}", xml, 0)) for side in ("height", "width"))
        pixels = read_sized(image, (height, width), xml)
        objects = root.findall("object")
        boxes = [[number(each, f"bndbox/{side}", xml) for side in ("xmin", "ymin", "xmax", "ymax")] for each in objects]
        corners = np.array(boxes, np.float64).reshape(-1, 4) - [1, 1, 0, 0]  # VOC counts pixels from 1
        kinds = np.array([self._kind(each, xml) for each in objects], np.int64)
        counted = np.array([not number(each, "difficult", xml, 0) for each in objects], bool)
        cut, left = inside(corners, pixels.shape[:2], str(xml))
        return Picture(pixels, cut, kinds, counted).chosen(left)

    def _kind(self, each: Tree.Element, xml: Path) -> int:
        name = (each.findtext("name") or "").strip()
        if name not in self.number:
            raise ValueError(
                f"a class must be one of {', '.join(self.number)}, got {name!r} in {xml}; correct it, or list your "
                f"classes in {LABELS}, one a line"
            )
        return self.number[name]


def number(node: Tree.Element, path: str, xml: Path, default: float | None = None) -> float:
    """The number at a path below a node; without a default it must be there."""
    text = (node.findtext(path) or "").strip()
    try:
        return float(text) if text or default is None else default
    except ValueError:
        raise ValueError(f"<{path}> must be a number, got {text!r} in {xml}; correct it") from None


def classes_of(folder: Path) -> list[str]:
    """The names in label_list.txt, or VOC's."""
    file = folder / LABELS
    if not file.is_file():
        return CLASSES
    found = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if not found or len({*found}) < len(found):
        raise ValueError(f"{file} must list each class once, one a line, got {found}")
    return found
