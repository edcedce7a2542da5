# SPDX-License-Identifier: Apache-2.0
"""Detection without anchors, as PicoDet is trained: every point says a class and how far the four sides are."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
import paddle
import paddle.nn.functional as F
from assignment import cross_entropy, overlap, sim_ota
from detection import Detection
from models.picodet import DISTANCES, STRIDES

BOX, DISTANCE = 2.0, 0.25  # parts of the loss beside that of the classes


class Points(Detection):
    """Planes of `models.PicoDet`; the loss is varifocal + 2 GIoU + 0.25 of the distances' distribution.

    Sources: Zhang et al., "VarifocalNet", 2020, arXiv:2008.13367; Li et al., 2020, arXiv:2006.04388; PicoDet.
    """

    def __init__(self, classes: int, size: tuple[int, int], most: int) -> None:
        super().__init__(classes, size, most)
        self.points = points(size)

    def measure(self, outputs: Any, labels: Sequence[Any]) -> tuple[Any, ...]:
        logits, sides = self.split(outputs)
        box, kind = labels
        truth, where = corners(box, self.size), paddle.to_tensor(self.points)
        boxes = self.boxes(sides)
        whose, iou = sim_ota(logits, boxes, truth, kind, where)
        one_hot = F.one_hot(kind, self.classes)
        target = paddle.matmul(whose, one_hot) * iou.unsqueeze(-1)  # [n, points, classes]
        positive = whose.sum(-1)  # [n, points]
        probability = F.sigmoid(logits.detach())
        weight = paddle.where(target > 0, target, 0.75 * probability.square())
        classes = (weight * cross_entropy(logits, target)).sum() / positive.sum().clip(min=1)
        trusted = probability.max(-1) * positive
        total = trusted.sum().clip(min=1e-6)
        wanted = paddle.matmul(whose, truth)  # [n, points, 4]
        off = ((1 - overlap(boxes, wanted, generalized=True)) * trusted).sum() / total
        spread = (spread_loss(sides, self.distances(wanted)).mean(-1) * trusted).sum() / total
        return (classes + BOX * off + DISTANCE * spread,)

    def found(self, outputs: Any) -> tuple[Any, Any]:
        logits, sides = self.split(outputs)
        return self.boxes(sides, clipped=True), F.sigmoid(logits).transpose([0, 2, 1])

    def split(self, planes: Sequence[Any]) -> tuple[Any, Any]:
        """Logits of the classes [n, points, classes], and of the distances [n, points, 4, DISTANCES]."""
        rows = paddle.concat([plane.flatten(2) for plane in planes], axis=2).transpose([0, 2, 1])
        count = len(self.points)
        return rows[..., : self.classes], rows[..., self.classes :].reshape([-1, count, 4, DISTANCES])

    def boxes(self, sides: Any, *, clipped: bool = False) -> Any:
        """(left, top, right, bottom) [n, points, 4] in pixels; a distance is the mean of its distribution."""
        steps = paddle.arange(DISTANCES, dtype="float32")
        far = (F.softmax(sides, axis=-1) * steps).sum(-1) * paddle.to_tensor(self.points[:, 2:])
        at = paddle.to_tensor(self.points[:, :2])
        low, high = at - far[..., :2], at + far[..., 2:]
        if clipped:
            height, width = self.size
            edge = paddle.to_tensor(np.float32([width, height]))
            low, high = paddle.maximum(low, 0 * edge), paddle.minimum(high, edge)
        return paddle.concat([low, high], axis=-1)

    def distances(self, boxes: Any) -> Any:
        """How many strides each side of a box is away from its point, [n, points, 4], cut to what can be said."""
        at, stride = paddle.to_tensor(self.points[:, :2]), paddle.to_tensor(self.points[:, 2:])
        far = paddle.concat([at - boxes[..., :2], boxes[..., 2:] - at], axis=-1) / stride
        return far.clip(0, DISTANCES - 1.01)


def spread_loss(sides: Any, distances: Any) -> Any:
    """Cross entropy to the two steps around each distance, the nearer the heavier, [n, points, 4]."""
    steps = paddle.arange(DISTANCES, dtype="float32")
    wanted = (1 - (distances.unsqueeze(-1) - steps).abs()).clip(min=0)
    return -(wanted * F.log_softmax(sides, axis=-1)).sum(-1)


def points(size: tuple[int, int]) -> np.ndarray:
    """Centres of all cells of all planes, [points, 3]: x, y, stride; rows of a plane one after the other."""
    height, width = size
    found = []
    for stride in STRIDES:
        rows, columns = -(-height // stride), -(-width // stride)
        y, x = np.mgrid[:rows, :columns]
        found.append(np.stack([(x + 0.5) * stride, (y + 0.5) * stride, np.full_like(x, stride)], -1).reshape(-1, 3))
    return np.concatenate(found).astype(np.float32)


def corners(box: Any, size: tuple[int, int]) -> Any:
    """(centre x, centre y, width, height) in fractions → (left, top, right, bottom) in pixels."""
    height, width = size
    scale = paddle.to_tensor(np.float32([width, height]))
    half = box[..., 2:] / 2
    return paddle.concat([(box[..., :2] - half) * scale, (box[..., :2] + half) * scale], axis=-1)
