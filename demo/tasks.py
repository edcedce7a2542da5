# SPDX-License-Identifier: Apache-2.0
"""What a net is trained for: its labels, its loss, its answers, and how good they are."""

from __future__ import annotations

import contextlib
import io
from typing import Any, NamedTuple, Protocol, Sequence

import numpy as np
import paddle
import paddle.nn.functional as F

from paddle_unstructured import distributed

UNMARKED = 255  # of a mask: the pixel does not count
# Of YOLOv3, (width, height) in an image of 416 x 416: three for each of its planes, strides 8, 16 and 32.
ANCHORS = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))
ANCHORS_AT = 416


class Label(NamedTuple):
    """One array that comes with an image; its shape without the batch."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Score(Protocol):
    """Judges answers batch by batch."""

    def add(self, answers: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> None:
        """Take the answers of one batch."""

    def result(self) -> dict[str, float]:
        """Over all that was added, on all ranks if `Task.is_shared`: metrics by name, and "images"."""
        ...


class Task(Protocol):
    """A task.

    Attributes:
        labels: what a source gives beside images.
        names: of what `measure` gives behind the loss.
        metric: of a score, by which epochs are compared.
        is_shared: whether each rank may judge its share of the test images.
    """

    labels: tuple[Label, ...]
    names: tuple[str, ...]
    metric: str
    is_shared: bool

    def measure(self, outputs: Any, labels: Sequence[Any]) -> tuple[Any, ...]:
        """Loss and metrics of one batch, in both modes of Paddle."""

    def answers(self, outputs: Any) -> tuple[Any, ...]:
        """What an inference model returns."""

    def score(self) -> Score: ...


class Total:
    """Numbers that are summed up over batches, and over ranks in the end."""

    def __init__(self, size: int) -> None:
        self.counts = np.zeros(size)

    def everywhere(self) -> np.ndarray:
        return np.asarray(distributed.total(list(self.counts)))


class Classification:
    """One class for each image, logits [n, classes]."""

    names, metric, is_shared = ("top1", "top5"), "top1", True

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.labels = (Label("label", (1,), "int64"),)

    def measure(self, outputs: Any, labels: Sequence[Any]) -> tuple[Any, ...]:
        accuracies = (paddle.metric.accuracy(outputs, labels[0], k=min(k, self.classes)) for k in (1, 5))
        return (F.cross_entropy(outputs, labels[0]), *accuracies)

    def answers(self, outputs: Any) -> tuple[Any, ...]:
        return (F.softmax(outputs),)

    def score(self) -> Score:
        return _Hits()


class _Hits(Total):
    def __init__(self) -> None:
        super().__init__(3)

    def add(self, answers: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> None:
        self.counts += [*(hits(answers[0], labels[0], k).sum() for k in (1, 5)), len(answers[0])]

    def result(self) -> dict[str, float]:
        top1, top5, images = self.everywhere()
        return {"top1": float(top1 / images), "top5": float(top5 / images), "images": int(images)}


def hits(scores: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Return which labels [n, 1] are among the k largest scores [n, classes]; a tie or NaN is a miss."""
    not_below = ~(scores < np.take_along_axis(scores, labels, axis=1))
    return not_below.sum(axis=1) <= k


class Segmentation:
    """One class for each pixel, logits [n, classes, h, w]."""

    names, metric, is_shared = ("pixels",), "miou", True

    def __init__(self, classes: int, size: tuple[int, int]) -> None:
        self.classes = classes
        self.labels = (Label("mask", size, "int64"),)

    def measure(self, outputs: Any, labels: Sequence[Any]) -> tuple[Any, ...]:
        mask = labels[0]
        loss = F.cross_entropy(outputs, mask, axis=1, ignore_index=UNMARKED)
        right = (paddle.argmax(outputs, axis=1) == mask).astype("float32")
        marked = (mask != UNMARKED).astype("float32")
        return loss, right.sum() / marked.sum().clip(min=1.0)

    def answers(self, outputs: Any) -> tuple[Any, ...]:
        return (F.softmax(outputs, axis=1),)

    def score(self) -> Score:
        return _Overlap(self.classes)


class _Overlap(Total):
    """mIoU: the mean over classes of pixels that both say, over pixels that either says."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes * classes + 1)
        self.classes = classes

    def add(self, answers: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> None:
        said, mask = answers[0].argmax(axis=1), labels[0]
        marked = mask != UNMARKED
        pairs = mask[marked] * self.classes + said[marked]
        self.counts[:-1] += np.bincount(pairs, minlength=self.classes**2)
        self.counts[-1] += len(mask)

    def result(self) -> dict[str, float]:
        *pairs, images = self.everywhere()
        table = np.reshape(pairs, (self.classes, self.classes))  # [is, said]
        both, either = table.diagonal(), table.sum(0) + table.sum(1) - table.diagonal()
        there = either > 0
        miou, pixels = (both[there] / either[there]).mean(), both.sum() / max(table.sum(), 1)
        return {"miou": float(miou), "pixels": float(pixels), "images": int(images)}


class Detection:
    """Boxes with classes: three planes of 3 anchors x (5 + classes), as YOLOv3 has them.

    Answers are detections [found, 6], (class, score, left, top, right, bottom) in pixels, those of the first image
    first, and how many each image has, [n].
    """

    names, metric, is_shared = (), "map", False

    def __init__(self, classes: int, size: tuple[int, int], most: int) -> None:
        self.classes, self.size = classes, size
        self.labels = (Label("box", (most, 4), "float32"), Label("class", (most,), "int32"))
        scaled = [max(2, round(side * size[0] / ANCHORS_AT)) for anchor in ANCHORS for side in anchor]
        self.anchors, self.planes = scaled, ((32, (6, 7, 8)), (16, (3, 4, 5)), (8, (0, 1, 2)))

    def measure(self, outputs: Any, labels: Sequence[Any]) -> tuple[Any, ...]:
        box, kind = labels
        losses = [
            paddle.vision.ops.yolo_loss(
                plane, box, kind, self.anchors, list(which), self.classes, 0.7, stride, use_label_smooth=False
            ).mean()
            for plane, (stride, which) in zip(outputs, self.planes)
        ]
        return (sum(losses[1:], losses[0]),)

    def answers(self, outputs: Any) -> tuple[Any, ...]:
        size = paddle.full([paddle.shape(outputs[0])[0], 2], self.size[0], "int32")
        boxes, scores = [], []
        for plane, (stride, which) in zip(outputs, self.planes):
            anchors = [side for i in which for side in self.anchors[2 * i : 2 * i + 2]]
            found = paddle.vision.ops.yolo_box(plane, size, anchors, self.classes, 0.01, stride)
            boxes.append(found[0])
            scores.append(found[1].transpose([0, 2, 1]))
        chosen = paddle.vision.ops.matrix_nms(
            paddle.concat(boxes, 1), paddle.concat(scores, 2), 0.01, 0.01, 400, 100, background_label=-1
        )
        return chosen[0], chosen[1]

    def score(self) -> Score:
        try:
            return _Precision(self.classes, self.size)
        except ImportError:
            raise ValueError("mean average precision needs pycocotools; pip install pycocotools") from None


class _Precision:
    """Mean average precision over IoU 0.5 to 0.95 and at 0.5, by pycocotools."""

    def __init__(self, classes: int, size: tuple[int, int]) -> None:
        import pycocotools.cocoeval  # noqa: F401  # before a run, not after its first epoch

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
                    words = {"image_id": image, "category_id": int(kind) + 1, "bbox": box, "area": box[2] * box[3]}
                    self.truth.append({"id": len(self.truth) + 1, "iscrowd": 0, **words})
            for kind, score, left, top, right, bottom in detections[starts[i] : starts[i + 1]]:
                self.found.append([image, left, top, right - left, bottom - top, score, kind + 1])
        self.images += len(counts)

    def result(self) -> dict[str, float]:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

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
        return {"map": float(judge.stats[0]), "map50": float(judge.stats[1]), "images": self.images}
