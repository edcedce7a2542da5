# SPDX-License-Identifier: Apache-2.0
"""Boxes as COCO has them: one json file for all images."""

from __future__ import annotations

import functools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from pictures import Picture, inside, must_be_there, read_sized

# Below --data_dir, of COCO itself and of tools that write its format.
ANNOTATIONS = {
    "train": ("annotations/instances_train2017.json", "annotations/instance_train.json", "annotations/train.json"),
    "test": ("annotations/instances_val2017.json", "annotations/instance_val.json", "annotations/val.json"),
}
IMAGES = {"train": ("train2017", "images", "train", "."), "test": ("val2017", "images", "val", ".")}


class Coco(paddle.io.Dataset):
    """The images of one json file, those without objects too; items are `Picture`s.

    Args:
        annotations: the json file.
        folders: where its images may be; the first that has the first of them.
        categories: (id, name) of the classes 0, 1, ...; default: those of the file, in the order of their ids.

    Raises:
        ValueError: The file is not COCO's, names a category or an image that it does not have, or images are missing.
    """

    def __init__(
        self, annotations: Path, folders: list[Path], categories: tuple[tuple[int, str], ...] | None = None
    ) -> None:
        read = parse(annotations)
        own = named(read, annotations)
        categories = categories or own
        strange = [pair for pair in own if pair not in categories]
        if strange:
            raise ValueError(
                f"{annotations} must have the categories of the other split, got another one, {strange[0]}; use the "
                "same list of categories in both files"
            )
        self.file, number = annotations, {category: i for i, (category, _) in enumerate(categories)}
        self.images = read["images"]
        if not self.images:
            raise ValueError(f"{annotations} must list images, but it lists none")
        ids = [field(image, "id", f"image {i} of {annotations}") for i, image in enumerate(self.images)]
        names = [field(image, "file_name", f"image {i} of {annotations}") for i, image in enumerate(self.images)]
        self.folder = next((f for f in folders if (f / names[0]).is_file()), folders[0])
        must_be_there([self.folder / name for name in names], annotations)
        rows: dict[Any, list[tuple]] = {key: [] for key in ids}
        if len(rows) < len(ids):
            twice = Counter(ids).most_common(1)[0][0]
            raise ValueError(
                f"images must have ids of their own, got {twice} more than once in {annotations}; number them anew"
            )
        for i, one in enumerate(read["annotations"]):
            where = f"annotation {one.get('id', f'number {i}')} of {annotations}"
            box, category, image = (field(one, key, where) for key in ("bbox", "category_id", "image_id"))
            if category not in number:
                raise ValueError(
                    f"a category must be one of the file's {sorted(number)}, got {category} in {where}; add it to "
                    "`categories`, or take the annotation out"
                )
            if image not in rows:
                raise ValueError(
                    f"an annotation must be of an image of the file, got image_id {image} in {where}; list the image, "
                    "or take the annotation out"
                )
            if not isinstance(box, list) or len(box) != 4 or not all(isinstance(side, (int, float)) for side in box):
                raise ValueError(f"`bbox` must be [left, top, width, height], got {box} in {where}; correct it there")
            rows[image].append((*box, number[category], not one.get("iscrowd", 0)))
        self.rows = [np.array(rows[key], np.float64).reshape(-1, 6) for key in ids]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Picture:
        image, rows = self.images[index], self.rows[index]
        file = self.folder / image["file_name"]
        pixels = read_sized(file, (image.get("height"), image.get("width")), self.file)
        is_ = pixels.shape[:2]
        boxes, left = inside(np.c_[rows[:, :2], rows[:, :2] + rows[:, 2:4]], is_, f"{self.file}, {file.name}")
        return Picture(pixels, boxes, rows[:, 4].astype(np.int64), rows[:, 5] > 0).chosen(left)


def parse(file: Path) -> dict[str, Any]:
    """Read a json file with images, annotations and categories."""
    try:
        read = json.loads(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file} must be json as COCO has it, but {error}") from error
    parts = ("images", "annotations", "categories")
    missing = [part for part in parts if not (isinstance(read, dict) and isinstance(read.get(part), list))]
    if missing:
        raise ValueError(
            f"{file} must be json as COCO has it, with lists of images, annotations, categories; it has no list of "
            f"{missing[0]}"
        )
    strange = [(part, i) for part in parts for i, one in enumerate(read[part]) if not isinstance(one, dict)]
    if strange:
        part, i = strange[0]
        raise ValueError(f"{part} must hold objects with keys, got {read[part][i]!r} as number {i} in {file}")
    return read


def field(one: dict[str, Any], key: str, where: str) -> Any:
    if key not in one:
        raise ValueError(f"{where} must have `{key}`, but it has none; add it there")
    return one[key]


def named(read: dict[str, Any], file: Path) -> tuple[tuple[int, str], ...]:
    """(id, name) of the categories, by id."""
    ids = [field(one, "id", f"category {i} of {file}") for i, one in enumerate(read["categories"])]
    found = sorted(((key, str(one.get("name", key))) for key, one in zip(ids, read["categories"])), key=_by_id)
    if not found or len(dict(found)) < len(found):
        raise ValueError(f"{file} must have categories with ids of their own, got {found}")
    return tuple(found)


def _by_id(pair: tuple[Any, str]) -> tuple[bool, Any]:
    """Numbers before words."""
    return isinstance(pair[0], str), pair[0]


@functools.lru_cache(maxsize=8)
def categories_of(file: Path) -> tuple[tuple[int, str], ...]:
    return named(parse(file), file)


def first_there(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)
