# SPDX-License-Identifier: Apache-2.0
"""Boxes with classes: what all detectors have in common, and detection with anchors, as YOLOv3 is trained."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
import paddle
import paddle.nn.functional as F
from nms import CHOSEN_FROM, LEAST, MOST
from precision import Precision
from tasks import Label, Score

# (width, height) in pixels, three for each of YOLOv3's planes, strides 8, 16 and 32. They do not shrink with the image:
# a plane tells objects apart whose centres are a stride away from each other, however large the image is.
ANCHORS = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))


class Detection:
    """A detector's task, but for its loss and its answers.

    Answers are detections [found, 6], (class, score, left, top, right, bottom) in pixels, those of the first image
    first, and how many each image has, [n].

    Args:
        classes: classes of a box.
        size: (height, width) of an image.
        most: boxes of a training image.
    """

    names, metric, is_shared = (), "map", False

    def __init__(self, classes: int, size: tuple[int, int], most: int) -> None:
        self.classes, self.size = classes, size
        self.labels = (Label("box", (most, 4), "float32"), Label("class", (most,), "int32"))

    def measure(self, outputs: Any, labels: Sequence[Any]) -> tuple[Any, ...]:
        raise NotImplementedError

    def found(self, outputs: Any) -> tuple[Any, Any]:
        """Boxes [n, points, 4] in pixels, cut at the image's edges, and scores [n, classes, points]: before NMS."""
        raise NotImplementedError

    def answers(self, outputs: Any) -> tuple[Any, ...]:
        return choose(*self.found(outputs))

    def score(self) -> Score:
        return Precision(self.classes, self.size)


class Anchors(Detection):
    """Three planes of 3 anchors x (5 + classes), as YOLOv3 has them."""

    def __init__(self, classes: int, size: tuple[int, int], most: int) -> None:
        super().__init__(classes, size, most)
        self.anchors = [side for anchor in ANCHORS for side in anchor]
        self.planes = ((32, (6, 7, 8)), (16, (3, 4, 5)), (8, (0, 1, 2)))

    def measure(self, outputs: Any, labels: Sequence[Any]) -> tuple[Any, ...]:
        box, kind = labels
        losses = [
            paddle.vision.ops.yolo_loss(
                plane, box, kind, self.anchors, list(which), self.classes, 0.7, stride, use_label_smooth=False
            ).mean()
            for plane, (stride, which) in zip(outputs, self.planes)
        ]
        return (sum(losses[1:], losses[0]),)

    def found(self, outputs: Any) -> tuple[Any, Any]:
        """As `paddle.vision.ops.yolo_box` decodes them, in ops that every engine has."""
        boxes, scores = [], []
        edge = paddle.to_tensor(np.float32([self.size[1], self.size[0]]))
        for plane, (stride, which) in zip(outputs, self.planes):
            rows, columns = self.size[0] // stride, self.size[1] // stride
            y, x = np.mgrid[:rows, :columns]
            corner = paddle.to_tensor(np.float32([x, y]).reshape(2, -1).T)  # of each cell, [cells, 2]
            sides = np.float32(self.anchors).reshape(-1, 1, 2)[list(which)]  # [3, 1, 2]
            values = plane.reshape([-1, len(which), 5 + self.classes, rows * columns]).transpose([0, 1, 3, 2])
            middle = (F.sigmoid(values[..., :2]) + corner) * stride
            half = values[..., 2:4].exp() * paddle.to_tensor(sides / 2)
            low, high = paddle.maximum(middle - half, 0 * edge), paddle.minimum(middle + half, edge - 1)
            boxes.append(paddle.concat([low, high], axis=-1).reshape([-1, len(which) * rows * columns, 4]))
            score = F.sigmoid(values[..., 4:5]) * F.sigmoid(values[..., 5:])
            scores.append(score.reshape([-1, len(which) * rows * columns, self.classes]).transpose([0, 2, 1]))
        return paddle.concat(boxes, axis=1), paddle.concat(scores, axis=2)


def choose(boxes: Any, scores: Any) -> tuple[Any, Any]:
    """Of boxes [n, points, 4] and scores [n, classes, points] those that are no other one's double: the answers.

    Source: Wang et al., "SOLOv2", 2020, arXiv:2003.10152 (matrix NMS: the score of a double falls with its overlap).
    """
    chosen = paddle.vision.ops.matrix_nms(boxes, scores, LEAST, LEAST, CHOSEN_FROM, MOST, background_label=-1)
    return chosen[0], chosen[1]
