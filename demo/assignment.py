# SPDX-License-Identifier: Apache-2.0
"""Which points of a detector learn which object, and how far two boxes agree: the same ops in both modes of Paddle.

Boxes are (left, top, right, bottom) in pixels, in the last axis.
"""

from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F

MOST_POINTS = 10  # of one object
RADIUS = 2.5  # strides around an object's centre from which it may be learned
FAR, NEVER = 1e5, 1e8  # costs of a point that is not near an object; of one that cannot have it


def area(box: Any) -> Any:
    """Width times height, 0 where a box is turned inside out."""
    return ((box[..., 2] - box[..., 0]).clip(min=0) * (box[..., 3] - box[..., 1]).clip(min=0)).astype("float32")


def overlap(first: Any, second: Any, *, generalized: bool = False) -> Any:
    """Intersection over union; generalized: less the share of the box around both that neither fills, in [-1, 1].

    Source: Rezatofighi et al., "Generalized Intersection over Union", 2019, arXiv:1902.09630.
    """
    low, high = paddle.maximum(first[..., :2], second[..., :2]), paddle.minimum(first[..., 2:], second[..., 2:])
    both = area(paddle.concat([low, high], axis=-1))
    either = area(first) + area(second) - both
    iou = both / either.clip(min=1e-6)
    if not generalized:
        return iou
    low, high = paddle.minimum(first[..., :2], second[..., :2]), paddle.maximum(first[..., 2:], second[..., 2:])
    around = area(paddle.concat([low, high], axis=-1)).clip(min=1e-6)
    return iou - (around - either) / around


def sim_ota(logits: Any, boxes: Any, truth: Any, kinds: Any, points: Any) -> tuple[Any, Any]:
    """Give each object the points that would answer it most cheaply, as many as answer it well already.

        cost = focal loss of its class − 3 log IoU + 10⁵ · (the point is not near it)
        its points: the k cheapest, k = the sum of its 10 largest IoU, at least 1

    A point is near an object if it is in its box and at most 2.5 strides from its centre; one that fulfils neither
    never gets it. A point that two objects want goes to the cheaper one.

    Args:
        logits: of the classes, [n, points, classes]; no gradient flows through what comes back.
        boxes: answered, [n, points, 4].
        truth: objects' boxes, [n, m, 4]; all zeros where there is none.
        kinds: their classes, [n, m].
        points: [points, 3]: x, y and stride.

    Returns:
        Whose each point is, [n, points, m] of 0 and 1 with at most one 1, and its IoU with that object, [n, points].

    Source: Ge et al., "YOLOX", 2021, arXiv:2107.08430, section 2.3.
    """
    logits, boxes = logits.detach(), boxes.detach()
    there = (truth[..., 2] > truth[..., 0]).unsqueeze(1)  # [n, 1, m]
    iou = overlap(boxes.unsqueeze(2), truth.unsqueeze(1)) * there.astype("float32")  # [n, points, m]
    may, near = reachable(truth, points)
    own = paddle.matmul(logits, F.one_hot(kinds, logits.shape[-1]), transpose_y=True)  # logit of the object's class
    right, wrong = F.sigmoid(own), F.sigmoid(logits)
    others = (wrong.square() * F.softplus(logits)).sum(-1, keepdim=True) - right.square() * F.softplus(own)
    cost = others + (iou - right).abs().square() * cross_entropy(own, iou) - 3 * iou.clip(min=1e-6).log()
    cost = cost + FAR * (1 - near.astype("float32")) + NEVER * (1 - (may & there).astype("float32"))
    most = min(MOST_POINTS, points.shape[0])
    many = paddle.topk(iou, most, axis=1)[0].sum(1, keepdim=True).astype("int64").clip(min=1, max=most)
    cheapest = paddle.topk(cost, most, axis=1, largest=False)[0]  # [n, most, m]
    mine = (cost <= paddle.take_along_axis(cheapest, many - 1, axis=1)) & (cost < NEVER)
    cost = paddle.where(mine, cost, paddle.full_like(cost, NEVER))
    whose = F.one_hot(cost.argmin(-1), truth.shape[1]) * mine.astype("float32")
    return whose, (iou * whose).sum(-1)


def reachable(truth: Any, points: Any) -> tuple[Any, Any]:
    """Which points [n, points, m] are in an object's box or at its centre, and which are both."""
    x, y, stride = (points[:, i].reshape([1, -1, 1]) for i in range(3))
    left, top, right, bottom = (truth[..., i].unsqueeze(1) for i in range(4))
    inside = (x > left) & (x < right) & (y > top) & (y < bottom)
    reach = RADIUS * stride
    centred = ((x - (left + right) / 2).abs() < reach) & ((y - (top + bottom) / 2).abs() < reach)
    return inside | centred, inside & centred


def cross_entropy(logits: Any, target: Any) -> Any:
    """Binary, with a target in [0, 1], element by element."""
    return F.softplus(logits) - logits * target
