# SPDX-License-Identifier: Apache-2.0
"""Averages over images, not over batches, and over all ranks."""

from __future__ import annotations

from typing import Callable, Sequence

import numpy as np
import paddle
from data import Source, batches
from interrupts import stop_if_asked
from tasks import Task

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


def measure(
    exe: paddle.static.Executor,
    program: paddle.static.Program,
    *,
    image: str,
    answers: Sequence[paddle.pir.Value],
    task: Task,
    source: Source,
    batch_size: int,
    num_workers: int = 0,
) -> dict[str, float]:
    """Judge the answers to every image of `source`, each rank its share if the task allows it: metrics and "images"."""

    def run(images: paddle.Tensor) -> list[np.ndarray]:
        distributed.progress()
        return exe.run(program, feed={image: images}, fetch_list=list(answers))

    return judge(run, task=task, source=source, batch_size=batch_size, num_workers=num_workers)


def judge(
    run: Callable[[paddle.Tensor], Sequence[np.ndarray]],
    *,
    task: Task,
    source: Source,
    batch_size: int,
    num_workers: int,
) -> dict[str, float]:
    """The score of what `run` answers."""
    score = task.score()
    place = {"rank": distributed.rank(), "ranks": distributed.world_size()} if task.is_shared else {}
    for images, *labels in batches(source, batch_size, num_workers=num_workers, **place):
        stop_if_asked()
        score.add(run(images), [np.asarray(label) for label in labels])
    return score.result()
