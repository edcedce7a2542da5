# SPDX-License-Identifier: Apache-2.0
"""Scenes as files in the formats that users' own data have: COCO, VOC, portraits with masks."""

from __future__ import annotations

import json
import xml.etree.ElementTree as Tree
from pathlib import Path
from typing import Callable

import numpy as np
from PIL import Image
from scenes import CLASSES

NAMES = [f"kind {i}" for i in range(CLASSES)]
Made = "dict[str, np.ndarray]"


def write_coco(folder: Path, split: str, made: Made) -> None:
    """train2017/, val2017/ and annotations/; ids of categories begin at 1."""
    part = "train2017" if split == "train" else "val2017"
    sizes = save(folder / part, made["images"], "{:06}.jpg")
    images = [{"id": i, "file_name": name, "height": h, "width": w} for i, (name, h, w) in enumerate(sizes)]
    rows = []
    for i, (boxes, kinds) in enumerate(objects(made)):
        for (left, top, right, bottom), kind in zip(boxes, kinds):
            box = [left, top, right - left, bottom - top]
            words = {"image_id": i, "category_id": kind + 1, "iscrowd": 0}
            rows.append({"id": len(rows) + 1, "bbox": box, "area": box[2] * box[3], **words})
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(NAMES)]
    file = folder / "annotations" / f"instances_{part}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"images": images, "annotations": rows, "categories": categories}))


def write_voc(folder: Path, split: str, made: Made) -> None:
    """JPEGImages/, Annotations/, label_list.txt, and trainval.txt or test.txt."""
    part = "trainval" if split == "train" else "test"
    sizes = save(folder / "JPEGImages", made["images"], f"{part}_{{:06}}.jpg")
    (folder / "Annotations").mkdir(exist_ok=True)
    lines = []
    for (name, height, width), (boxes, kinds) in zip(sizes, objects(made)):
        root = Tree.Element("annotation")
        put(root, "filename", name)
        size = Tree.SubElement(root, "size")
        for word, value in (("width", width), ("height", height), ("depth", 3)):
            put(size, word, value)
        for (left, top, right, bottom), kind in zip(boxes, kinds):
            each = Tree.SubElement(root, "object")
            put(each, "name", NAMES[kind])
            put(each, "difficult", 0)
            box = Tree.SubElement(each, "bndbox")
            for word, value in (("xmin", left + 1), ("ymin", top + 1), ("xmax", right), ("ymax", bottom)):
                put(box, word, value)
        xml = f"Annotations/{Path(name).stem}.xml"
        Tree.ElementTree(root).write(folder / xml)
        lines.append(f"JPEGImages/{name} {xml}")
    (folder / f"{part}.txt").write_text("\n".join(lines) + "\n")
    (folder / "label_list.txt").write_text("\n".join(NAMES) + "\n")


def write_masks(folder: Path, split: str, made: Made) -> None:
    """images/, masks/ of 0 (ground) and 1 (any object), and train.txt or val.txt."""
    part = "train" if split == "train" else "val"
    sizes = save(folder / "images", made["images"], f"{part}_{{:06}}.jpg")
    (folder / "masks").mkdir(exist_ok=True)
    for (name, *_), mask in zip(sizes, made["masks"]):
        Image.fromarray((mask > 0).astype(np.uint8)).save(folder / "masks" / f"{Path(name).stem}.png")
    lines = [f"images/{name} masks/{Path(name).stem}.png" for name, *_ in sizes]
    (folder / f"{part}.txt").write_text("\n".join(lines) + "\n")


FORMATS: dict[str, Callable[[Path, str, Made], None]] = {"coco": write_coco, "voc": write_voc, "masks": write_masks}


def save(folder: Path, images: np.ndarray, pattern: str) -> list[tuple[str, int, int]]:
    """Write images [n, 3, h, w] as JPEG; name, height and width of each."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [pattern.format(i) for i in range(len(images))]
    for name, image in zip(names, images):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / name, quality=95)
    return [(name, *image.shape[1:]) for name, image in zip(names, images)]


def objects(made: Made) -> list[tuple[list[list[int]], list[int]]]:
    """Of each scene its boxes, (left, top, right, bottom) in whole pixels, and their classes."""
    size, found = made["images"].shape[-1], []
    for boxes, kinds in zip(made["boxes"], made["classes"]):
        there = boxes[:, 2] > 0
        low, high = boxes[there, :2] - boxes[there, 2:] / 2, boxes[there, :2] + boxes[there, 2:] / 2
        corners = np.rint(np.concatenate([low, high], axis=1) * size).astype(int)
        found.append((corners.tolist(), kinds[there].tolist()))
    return found


def put(node: Tree.Element, word: str, value: object) -> None:
    Tree.SubElement(node, word).text = str(value)
