# SPDX-License-Identifier: Apache-2.0
"""What a net is trained for: its labels, its loss, its answers, and how good they are. Boxes are in detection.py."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, Sequence

import numpy as np
import paddle
import paddle.nn.functional as F

from paddle_unstructured import distributed

UNMARKED = 255  # of a mask: the pixel does not count


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
