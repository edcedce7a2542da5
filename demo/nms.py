# SPDX-License-Identifier: Apache-2.0
"""Which of a detector's boxes are no other one's double, in numpy: for models that end before NMS, without Paddle."""

from __future__ import annotations

import numpy as np

LEAST, CHOSEN_FROM, MOST = 0.01, 400, 100  # score of a box; boxes before and after


def choose(boxes: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `detection.choose`, to the order of boxes of equal scores.

        score of box i ← score · min over better j of (1 − IoU(i, j)) / (1 − the largest IoU of j with a better one)

    Args:
        boxes: [n, points, 4], (left, top, right, bottom).
        scores: [n, classes, points].

    Returns:
        Detections [found, 6], (class, score, left, top, right, bottom), image by image, best first, and how many each
        has, [n].
    """
    found = [of_image(*one) for one in zip(boxes, scores)]
    return np.concatenate(found), np.array([len(one) for one in found], np.int32)


def of_image(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    rows = [np.zeros((0, 6), np.float32)]
    for kind, score in enumerate(scores):
        order = np.argsort(-score, kind="stable")[:CHOSEN_FROM]
        order = order[score[order] > LEAST]
        if not len(order):
            continue
        chosen = boxes[order]
        overlaps = np.triu(iou(chosen, chosen), 1)  # [j, i], j is the better one
        own = overlaps.max(axis=0)
        factor = (1 - overlaps) / np.maximum(1 - own, 1e-9)[:, None]
        factor = np.where(np.triu(np.ones_like(overlaps), 1) > 0, factor, 1.0).min(axis=0)
        left = score[order] * factor
        kept = left > LEAST
        rows.append(np.c_[np.full(kept.sum(), kind), left[kept], chosen[kept]].astype(np.float32))
    every = np.concatenate(rows)
    return every[np.argsort(-every[:, 1], kind="stable")[:MOST]]


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[n, 4] and [m, 4] → [n, m]"""
    low, high = np.maximum(first[:, None, :2], second[None, :, :2]), np.minimum(first[:, None, 2:], second[None, :, 2:])
    both = (high - low).clip(0).prod(2)
    areas = [(each[:, 2:] - each[:, :2]).clip(0).prod(1) for each in (first, second)]
    return both / np.maximum(areas[0][:, None] + areas[1][None] - both, 1e-9)
