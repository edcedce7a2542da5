# SPDX-License-Identifier: Apache-2.0
"""All weights that stay, found together: the answers of the net are brought nearer to those of the dense one."""

from __future__ import annotations

import logging
from math import prod
from typing import Any, Callable, Mapping, Sequence

import numpy as np

from ..saved_model import Model
from .layers import SolvableLayer
from .planes import pairs
from .samples import Feed, count_of, is_open, moved, portions
from .student import Student, Unable

_log = logging.getLogger(__name__)

STEPS = 2000  # where they cost little
LEAST = 50  # fewer do not pay
BUDGET = 1e12  # multiplications that steps may cost if nobody says how many: a minute or two
_DEPTHWISE = 50.0  # times as long takes one of a depthwise convolution that is no product of matrices
BATCH = 32
# How far a step moves a weight, at most, as a part of the size of its tensor's weights: in proportion to how far the
# answers are from the dense net's. What is nearly right is harmed by steps that repair what is far off.
RATE, REACH = 0.02, 0.04
BACK = (1.0, 0.5, 0.25)  # of the way that weights have gone: where held-back inputs do not like all of it
JUDGES = 16  # portions of these
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
        if layer.is_conv and layer.param.groups > 1:
            per_channel = pairs(layer)
            count = _DEPTHWISE * count if per_channel is None else per_channel * layer.param.groups
        multiplications += count
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

        L = mean |z - z'|² / mean |z|² + KL(softmax(z) || softmax(z'))

    the second of answers `[n, k]` and of what a last softmax reads, along its axis. What is minimised is L, and the
    mean of the first of what each layer gives, behind the norm that follows it and 1 at most: from a few inputs the
    answers alone could be had in ways that others do not like. Adam, with steps in relation to the size of a tensor's
    weights and to √L, that fall to nothing by a cosine; each time 32 samples, images moved by some pixels. What a mask
    has taken stays zero, and a tensor whose gradient is no number once, as that of the deviation of a channel that is
    silent, stays as it was. Weights go the whole way, a half, a quarter or none of it: the furthest whose L on
    held-back inputs is not above the least one by more than a standard error, since a few dozen inputs tell no more.

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
        Whether weights have moved; if they have not, or if the net has no gradient, nothing has changed.

    Source: Hinton et al. 2015, arXiv:1503.02531 (distillation); Romero et al. 2015, arXiv:1412.6550 (what layers give
        as well); Breiman et al. 1984 (the rule of one standard error).
    """
    old: dict[str, np.ndarray] = {}
    try:
        student = Student.of(model, dense, list(masks))
        judges = list(portions(model, held, max(1, sum(count_of(feed) for feed in held) // JUDGES)))
        before = student.losses(judges)
        if not _NOTHING <= before.mean() < np.inf:
            return False
        old = {name: model.graph.stored(name) for name in student.names}
        rate = min(RATE, REACH * float(before.mean()) ** 0.5)
        new = _moved(student, masks, seen, rate, steps, seed, told)
        losses = {}
        for part in BACK:
            _go(model, old, new, part)
            losses[part] = student.losses(judges)
        finite = all(np.isfinite(array).all() for array in new.values())  # ReLU makes numbers of NaN
        best = _furthest({**losses, 0.0: before}) if finite else 0.0
    except Unable as error:  # an op without a gradient fails in many ways
        _log.info("no gradient of this net, so layers are not refined together: %s", str(error).strip()[-200:])
        new, best = old, 0.0
    _go(model, old, new, best)
    return best > 0.0


def _furthest(losses: Mapping[float, np.ndarray]) -> float:
    """The furthest part of the way whose losses are not above the least ones by more than a standard error."""
    losses = {part: found for part, found in losses.items() if np.isfinite(found).all()}
    least = min(losses.values(), key=lambda found: float(found.mean()))

    def is_near(more: np.ndarray) -> bool:
        return bool(more.mean() <= (more.std(ddof=1) / len(more) ** 0.5 if len(more) > 1 else 0.0))

    return max(part for part, found in losses.items() if is_near(found - least))


def _go(model: Model, old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray], part: float) -> None:
    """Store weights at a part of the way."""
    for name, start in old.items():
        model.graph.store(name, start + np.float32(part) * (new[name] - start) if part else start)


def _moved(
    student: Student,
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
    first, still = list(weights), set[int]()
    batches = _batches(student.model, seen, random)
    for step in range(1, steps + 1):
        gradients = student.gradients(moved(student.model, next(batches), random))
        rate = np.float32(most * min(1.0, step / (0.1 * steps)) * 0.5 * (1.0 + np.cos(np.pi * step / steps)))
        for i, gradient in enumerate(gradients):
            if i in still or not np.isfinite(gradient).all():
                still.add(i)
                weights[i] = first[i]
                graph.store(student.names[i], weights[i])
                continue
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
