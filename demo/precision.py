# SPDX-License-Identifier: Apache-2.0
"""Mean average precision of a detector's answers, by pycocotools."""

from __future__ import annotations

import contextlib
import io
import logging
from typing import Any, Sequence

import numpy as np

log = logging.getLogger("train")


class Precision:
    """Mean average precision over IoU 0.5 to 0.95 ("map") and at 0.5 ("map50").

    A class below 0 marks a box that does not count, -1 - class: a crowd, or an object that VOC calls difficult.
    Detections that lie in one are neither right nor wrong.
    """

    def __init__(self, classes: int, size: tuple[int, int]) -> None:
        try:
            import pycocotools.cocoeval  # noqa: F401  # before a run, not after its first epoch
        except ImportError:
            raise ValueError("mean average precision needs pycocotools; pip install pycocotools") from None

        self.size, self.images = size, 0
        self.truth: list[dict[str, Any]] = []
        self.found: list[list[float]] = []
        self.categories = [{"id": i + 1} for i in range(classes)]

    def add(self, answers: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> None:
        detections, counts = answers
        height, width = self.size
        starts = np.cumsum([0, *counts])
        for i, (boxes, kinds) in enumerate(zip(*labels)):
            image = self.images + i + 1
            for (x, y, w, h), kind in zip(boxes, kinds):
                if w > 0:
                    box = [float((x - w / 2) * width), float((y - h / 2) * height), float(w * width), float(h * height)]
                    uncounted = int(kind < 0)
                    category = int(-1 - kind if uncounted else kind) + 1
                    words = {"image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3]}
                    self.truth.append({"id": len(self.truth) + 1, "iscrowd": uncounted, **words})
            for kind, score, left, top, right, bottom in detections[starts[i] : starts[i + 1]]:
                self.found.append([image, left, top, right - left, bottom - top, score, kind + 1])
        self.images += len(counts)

    def result(self) -> dict[str, float]:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        if all(one["iscrowd"] for one in self.truth):
            log.warning("none of the %d test images has a box that counts, so mAP is 0; list their boxes", self.images)
        with contextlib.redirect_stdout(io.StringIO()):  # its progress
            known = COCO()
            images = [{"id": i + 1} for i in range(self.images)]
            known.dataset = {"images": images, "annotations": self.truth, "categories": self.categories}
            known.createIndex()
            if not self.found or not self.truth:
                return {"map": 0.0, "map50": 0.0, "images": self.images}
            judge = COCOeval(known, known.loadRes(np.array(self.found, np.float64)), "bbox")
            judge.evaluate()
            judge.accumulate()
            judge.summarize()
        precision, at_half = (max(float(stat), 0.0) for stat in judge.stats[:2])  # -1: nothing counts
        return {"map": precision, "map50": at_half, "images": self.images}
