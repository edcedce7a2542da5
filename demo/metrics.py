# SPDX-License-Identifier: Apache-2.0
"""Averages over images, not over batches, and over all ranks."""

from __future__ import annotations

import numpy as np
import paddle
from data import Source, batches
from interrupts import stop_if_asked

from paddle_unstructured import distributed


class Average:
    """Mean of `count` numbers, weighted by batch size."""

    def __init__(self, count: int):
        self.total, self.images = np.zeros(count), 0

    def add(self, values, images: int) -> np.ndarray:
        """Take the means of one batch and return the means so far."""
        self.total = self.total + np.asarray(values, np.float64) * images
        self.images += images
        return self.mean

    def gather(self) -> Average:
        """Return the average over what all ranks have seen."""
        everything = Average(len(self.total))
        *everything.total, everything.images = distributed.total([*self.total, self.images])
        everything.total, everything.images = np.array(everything.total), int(everything.images)
        return everything

    @property
    def mean(self) -> np.ndarray:
        return self.total / self.images


def hits(scores: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Return which labels [n, 1] are among the k largest scores [n, classes]; a tie or NaN is a miss."""
    not_below = ~(scores < np.take_along_axis(scores, labels, axis=1))
    return not_below.sum(axis=1) <= k


def measure_accuracy(
    exe: paddle.static.Executor,
    program: paddle.static.Program,
    *,
    image: str,
    probabilities: paddle.pir.Value,
    source: Source,
    batch_size: int,
    num_workers: int = 0,
) -> dict[str, float]:
    """Classify every image of `source` once, each rank its share: {"top1", "top5", "images"}."""
    average, place = Average(2), {"rank": distributed.rank(), "ranks": distributed.world_size()}
    for images, labels in batches(source, batch_size, num_workers=num_workers, **place):
        stop_if_asked()
        (scores,) = exe.run(program, feed={image: images}, fetch_list=[probabilities])
        average.add([hits(scores, np.array(labels), k).mean() for k in (1, 5)], len(scores))
        distributed.progress()
    average = average.gather()
    top1, top5 = map(float, average.mean)
    return {"top1": top1, "top5": top5, "images": average.images}
