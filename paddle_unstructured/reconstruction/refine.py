# SPDX-License-Identifier: Apache-2.0
"""All weights that stay, found together: the answers of the net are brought nearer to those of the dense one."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from math import prod
from typing import Any, Callable, Mapping, Sequence

import numpy as np
import paddle
from paddle.base.libpaddle import pir

from ..graph import open_graph
from ..graph.testing import test_program
from ..saved_model import Model
from .ends import End, ends_of
from .layers import SolvableLayer
from .samples import Feed, count_of, is_open, moved, portions, rows_within
from .segments import GIVEN
from .spill import trim
from .worth import ROOM

_log = logging.getLogger(__name__)

STEPS = 2000  # where they cost little
LEAST = 50  # fewer do not pay
BUDGET = 1e12  # multiplications that steps may cost if nobody says how many: a minute or two
_DEPTHWISE = 50.0  # times as long takes one of a depthwise convolution: Paddle is slow at its gradient
BATCH = 32
# How far a step moves a weight, at most, as a part of the size of its tensor's weights: in proportion to how far the
# answers are from the dense net's. What is nearly right is harmed by steps that repair what is far off.
RATE, REACH = 0.02, 0.04
BACK = (1.0, 0.5, 0.25)  # of the way that weights have gone: where held-back inputs do not like all of it
_NOTHING = 1e-7  # of the loss: float32 parts equal answers by as much
_MOMENTUM, _DECAY = 0.9, 0.99  # of Adam


def affordable(layers: Sequence[SolvableLayer], feed: Feed) -> int:
    """How many steps there is time for; an extent that the net leaves open counts as the largest of the feed."""
    largest = max(max(array.shape[1:], default=1) for array in feed.values())
    multiplications = 0.0
    for layer in layers:
        shape = layer.op.result(0).shape
        outputs = prod(largest if extent < 0 else max(extent, 1) for extent in shape[1:])
        count = layer.param.size * outputs / max(layer.param.shape[layer.param.output_axis or 0], 1)
        multiplications += count * (_DEPTHWISE if layer.is_conv and layer.param.groups > 1 else 1.0)
    steps = int(BUDGET / (4.0 * BATCH * max(multiplications, 1.0)))
    return 0 if steps < LEAST else min(steps, STEPS)


def refine(
    model: Model,
    dense: Any,
    masks: Mapping[str, np.ndarray | None],
    seen: Sequence[Feed],
    held: Sequence[Feed],
    *,
    steps: int,
    seed: int,
    told: Callable[[float], None] = lambda done: None,
) -> bool:
    """Move weights along gradients of what parts the answers from those of the dense net, if it helps on other inputs.

    With z the answers of the dense net and z' those of the pruned one

        minimise mean |z - z'|² / mean |z|² + KL(softmax(z) || softmax(z'))

    the second of answers `[n, k]` and of what a last softmax reads, along its axis. Adam, with steps in relation to
    the size of a tensor's weights and to the root of what is minimised, that fall to nothing by a cosine; each time 32
    samples, images moved by some pixels. What a mask has taken stays zero. Of the way, a half and a quarter of it the
    one is kept that held-back inputs like best.

    Args:
        model: the pruned model; its scope is changed.
        dense: a scope with the dense weights.
        masks: param -> what stays of it; None: all.
        seen: feeds to learn from.
        held: feeds that judge.
        steps: how many.
        seed: of the order of samples, and of what images are moved by.
        told: called with the part of the work that is done; the last is to judge.

    Returns:
        Whether held-back answers are nearer now; if not, or if the net has no gradient, nothing has changed.

    Source: Hinton et al. 2015, arXiv:1503.02531 (distillation); Li et al. 2021, arXiv:2102.05426 (BRECQ: parts of a net
        reconstructed as a whole, on few inputs).
    """
    old: dict[str, np.ndarray] = {}
    try:
        student = _Student.of(model, dense, list(masks))
        before = student.loss(held)
        if before < _NOTHING:
            return False
        old = {name: model.graph.stored(name) for name in student.names}
        new = _moved(student, masks, seen, min(RATE, REACH * before**0.5), steps, seed, told)
        losses = {0.0: before}
        for part in BACK:
            _go(model, old, new, part)
            losses[part] = student.loss(held)
        best = min(losses, key=lambda part: losses[part])
    except _Unable as error:  # an op without a gradient fails in many ways
        _log.info("no gradient of this net, so layers are not refined together: %s", str(error).strip()[-200:])
        new, best = old, 0.0
    _go(model, old, new, best)
    return best > 0.0


def _go(model: Model, old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray], part: float) -> None:
    """Store weights at a part of the way."""
    for name, start in old.items():
        model.graph.store(name, start + np.float32(part) * (new[name] - start) if part else start)


def _moved(
    student: _Student,
    masks: Mapping[str, np.ndarray | None],
    seen: Sequence[Feed],
    most: float,
    steps: int,
    seed: int,
    told: Callable[[float], None],
) -> dict[str, np.ndarray]:
    """Weights behind all the steps; `most` is the largest rate."""
    graph, random = student.model.graph, np.random.default_rng(seed)
    weights = [graph.stored(name) for name in student.names]
    kept = [np.ones(1, np.float32) if (m := masks[name]) is None else m.astype(np.float32) for name in student.names]
    sizes = [_size(weight, mask) for weight, mask in zip(weights, kept)]
    mean, square = ([np.zeros_like(weight) for weight in weights] for _ in range(2))
    batches = _batches(student.model, seen, random)
    for step in range(1, steps + 1):
        gradients = student.gradients(moved(student.model, next(batches), random))
        rate = np.float32(most * min(1.0, step / (0.1 * steps)) * 0.5 * (1.0 + np.cos(np.pi * step / steps)))
        for i, gradient in enumerate(gradients):
            gradient = gradient * kept[i]
            mean[i] += np.float32(1.0 - _MOMENTUM) * (gradient - mean[i])
            square[i] += np.float32(1.0 - _DECAY) * (np.square(gradient) - square[i])
            along = mean[i] / np.float32(1.0 - _MOMENTUM**step)
            along /= np.sqrt(square[i] / np.float32(1.0 - _DECAY**step)) + np.float32(1e-12)
            weights[i] = weights[i] - rate * sizes[i] * along
            graph.store(student.names[i], weights[i])
        told(step / (steps + 1.0))
    return dict(zip(student.names, weights))


def _size(weight: np.ndarray, mask: np.ndarray) -> np.float32:
    """Root mean square of what stays."""
    count = max(float(np.sum(np.broadcast_to(mask, weight.shape))), 1.0)
    power = float(np.square(weight * mask, dtype=np.float64).sum()) / count
    size: np.float32 = np.float32(max(power**0.5, 1e-3))
    return size


def _batches(model: Model, seen: Sequence[Feed], random: np.random.Generator) -> Any:
    """Samples without end, in a new order each time; feeds of other shapes, or of one size only, one by one."""
    shapes = {tuple((name, array.shape[1:]) for name, array in feed.items()) for feed in seen}
    if len(shapes) > 1 or not is_open(model):
        while True:
            for i in random.permutation(len(seen)):
                yield seen[i]
    where = [(i, row) for i, feed in enumerate(seen) for row in range(count_of(feed))]
    rows = min(BATCH, len(where))
    while True:
        order = random.permutation(len(where))
        for start in range(0, len(order) - rows + 1, rows):
            chosen = [where[k] for k in order[start : start + rows]]
            yield {name: np.stack([seen[i][name][row] for i, row in chosen]) for name in seen[0]}


class _Unable(Exception):
    """Paddle cannot make or run the net with its gradient."""


@dataclass(frozen=True)
class _Student:
    """The pruned model with its loss, and the dense one that says what the answers should be.

    Attributes:
        names: params that have a gradient.
    """

    model: Model
    dense: Any
    teacher: Any
    answers: Sequence[Any]
    program: Any
    fetches: Sequence[Any]  # the loss, then gradients
    names: Sequence[str]
    executor: Any

    @classmethod
    def of(cls, model: Model, dense: Any, names: Sequence[str]) -> _Student:
        program, outputs = test_program(model.program, list(model.fetches))
        graph = open_graph(program, model.scope, model.place)
        values = [graph.persistable(name) for name in names]
        ends = ends_of(program, values, outputs)
        if not ends:
            raise _Unable("its outputs do not depend smoothly on any weight")
        teacher, answers = test_program(program, [end.value for end in ends])
        try:
            with paddle.static.program_guard(program):
                pir.reset_insertion_point_to_end()
                wanted = [
                    paddle.static.data(f"{GIVEN}{i}", list(end.value.shape), end.value.dtype)
                    for i, end in enumerate(ends)
                ]
                loss = sum((_apart(end, want) for end, want in zip(ends, wanted)), start=paddle.zeros([]))
                found = paddle.static.gradients([loss], values)
        except Exception as error:
            raise _Unable(error) from error
        pairs = [(name, gradient) for name, gradient in zip(names, found) if gradient is not None]
        fetches = [loss, *(gradient for _, gradient in pairs)]
        return cls(
            model,
            dense,
            teacher,
            answers,
            program,
            fetches,
            [name for name, _ in pairs],
            paddle.static.Executor(model.place),
        )

    def loss(self, feeds: Sequence[Feed]) -> float:
        """Mean over samples."""
        sums = [count_of(feed) * float(self._run(feed, self.fetches[:1])[0]) for feed in self._portions(feeds)]
        return sum(sums) / max(sum(count_of(feed) for feed in feeds), 1)

    def gradients(self, feed: Feed) -> list[np.ndarray]:
        """Of the mean loss of some samples."""
        total: list[np.ndarray] = []
        for part in self._portions([feed]):
            share = np.float32(count_of(part) / count_of(feed))
            found = [share * np.asarray(one) for one in self._run(part, self.fetches)[1:]]
            total = [a + b for a, b in zip(total, found)] if total else found
        return total

    def _portions(self, feeds: Sequence[Feed]) -> list[Feed]:
        return list(portions(self.model, feeds, rows_within(self.model, feeds, ROOM, sum)))

    def _run(self, feed: Feed, fetches: Sequence[Any]) -> list[np.ndarray]:
        try:
            wanted = self.executor.run(self.teacher, feed=feed, fetch_list=list(self.answers), scope=self.dense)
            targets = {f"{GIVEN}{i}": array for i, array in enumerate(wanted)}
            found: list[np.ndarray] = self.executor.run(
                self.program, feed={**feed, **targets}, fetch_list=list(fetches), scope=self.model.scope
            )
        except Exception as error:
            raise _Unable(error) from error
        trim()
        return found


def _apart(end: End, wanted: Any) -> Any:
    """How far answers are from those that are wanted."""
    answer, wanted = end.value.astype("float32"), wanted.astype("float32")
    apart = paddle.square(answer - wanted).mean() / (paddle.square(wanted).mean() + 1e-12)
    if end.axis is None:
        return apart
    log, of = (paddle.nn.functional.log_softmax(z, end.axis) for z in (answer, wanted))
    return apart + (paddle.exp(of) * (of - log)).sum(end.axis).mean()
