# SPDX-License-Identifier: Apache-2.0
"""What an output of a layer is worth: how far the answers of the net move when it moves."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import islice
from typing import Any, Iterator, Sequence

import numpy as np
import paddle
from paddle.base.libpaddle import pir

from ..formats import bfloat16
from ..graph.testing import test_program
from ..graph.values import channel_axis
from ..saved_model import Model
from .ends import ends_of
from .ends import gradients as gradients_of
from .layers import SolvableLayer
from .samples import Feed, portions, rows_within, taken
from .segments import GIVEN
from .spill import trim

_log = logging.getLogger(__name__)

PASSES = 64  # at most; more samples change little
LEAST = 12  # of them: a few samples are looked at again, each time with another r, which is noise otherwise
PORTION = 16  # samples of a pass, at most
ROOM = 2.5e8 / 3  # bytes that its activations may take, roughly
FLOOR = 0.01  # of the largest in a layer


@dataclass(frozen=True, eq=False)
class Worth:
    """What one layer's outputs are worth, and how much its inputs vary.

    Attributes:
        outputs: E |dz / dy_o|², summed over positions, float64 [channels].
        inputs: variance of what each channel brings, or its mean square where no bias can take the mean up; float64
            [channels].
    """

    outputs: np.ndarray
    inputs: np.ndarray

    @classmethod
    def of_all(cls, several: Sequence[Worth]) -> Worth:
        """Of a weight that several ops read."""
        outputs, inputs = ([getattr(one, name) for one in several] for name in ("outputs", "inputs"))
        return cls(np.sum(outputs, 0), np.mean(inputs, 0))

    def scale(self, layer: SolvableLayer) -> np.ndarray:
        """What an error of each output counts: float32 [groups, outputs, 1] with a mean square of 1."""
        scale = np.sqrt(self.outputs / self.outputs.mean()).astype(np.float32)
        shaped: np.ndarray = scale.reshape(layer.param.groups if layer.is_conv else 1, -1, 1)
        return shaped


def worth_of(model: Model, layers: Sequence[SolvableLayer], batches: Sequence[Feed], *, seed: int) -> dict[str, Worth]:
    """How much each output channel of each layer moves the answers of the net.

    E |dz / dy_o|² = E (d r·z / d y_o)² of random r with mean 0 and deviation 1, and z each of the net's float outputs
    in relation to its size: the diagonal of Gauss and Newton's matrix, for squared differences. For answers [n, k] the
    same of r = e_c - p comes to it, p = softmax(z) and the class c drawn from p: the diagonal of Fisher's matrix.

    Args:
        model: an inference model; its scope is only read.
        layers: whose outputs are asked for; of some the weight may be the same.
        batches: feeds; some are enough.
        seed: of r.

    Returns:
        By name of the weight, without those whose gradient is no number; nothing if the net has no gradient.

    Source: LeCun, Denker & Solla 1989 (the diagonal of the Hessian says what a weight is worth); Martens & Grosse 2015,
        arXiv:1503.05671 (one factor for the outputs of a layer, one for its inputs).
    """
    sums, energies = [_Sums.empty(_outputs(layer)) for layer in layers], [0.0, 0.0]
    try:
        for kind, energy, found in _passes(model, layers, batches, np.random.default_rng(seed)):
            energies[kind] += energy
            for one, (squares, mean, power) in zip(sums, found):
                one.squares[kind] += squares
                one.mean, one.power, one.count = one.mean + mean, one.power + power, one.count + 1
    except Exception as error:  # an op without a gradient fails in many ways
        _log.info("no gradient of this net, so every output counts alike: %s", str(error).strip()[-200:])
        return {}
    found_of: dict[str, list[Worth]] = {}
    for layer, one in zip(layers, sums):
        squares = sum((s / e for s, e in zip(one.squares, energies) if e > 0), start=np.zeros(1))
        if not np.isfinite(squares).all():  # behind it there is the root of a zero, say, which has no gradient
            continue
        varies = one.power / one.count - np.square(one.mean / one.count) * (layer.sink is not None)
        found_of.setdefault(layer.param.name, []).append(Worth(_floored(squares), _floored(varies)))
    return {name: Worth.of_all(several) for name, several in found_of.items()}


@dataclass
class _Sums:
    """Of one layer, over portions of the data."""

    squares: list[np.ndarray]  # of gradients, of each kind of r, [outputs]
    mean: Any = 0.0  # input, [channels]
    power: Any = 0.0  # mean square of inputs, [channels]
    count: int = 0

    @classmethod
    def empty(cls, outputs: int) -> _Sums:
        return cls([np.zeros(outputs), np.zeros(outputs)])


def _floored(squares: np.ndarray) -> np.ndarray:
    """Nothing is free; all alike where nothing is known."""
    if not np.isfinite(squares).all() or squares.max(initial=0.0) <= 0:
        return np.ones_like(squares)
    floored: np.ndarray = np.maximum(squares, FLOOR**2 * squares.max())
    return floored


def _outputs(layer: SolvableLayer) -> int:
    return int(layer.op.result(0).shape[_axis(layer, layer.op.result(0))])


def _axis(layer: SolvableLayer, value: Any) -> int:
    return channel_axis(layer.op, value) if layer.is_conv else len(value.shape) - 1


def _passes(
    model: Model, layers: Sequence[SolvableLayer], batches: Sequence[Feed], random: np.random.Generator
) -> Iterator[tuple[int, float, Iterator[tuple[np.ndarray, ...]]]]:
    """Of each portion the kind of r, its energy, and for each layer by channel: squares of the gradient, summed over
    all positions, the mean input, and the mean square input."""
    asked = [*(layer.op.result(0) for layer in layers), *(layer.input for layer in layers)]
    program, found = test_program(model.program, [*model.fetches, *asked])
    returned, found = found[: len(model.fetches)], found[len(model.fetches) :]
    values, inputs = found[: len(layers)], found[len(layers) :]
    ends = ends_of(program, values, returned)
    if not ends:
        raise ValueError("its outputs do not depend smoothly on any layer")
    found_ends = [end.value for end in ends]
    forward, ends_there = test_program(program, found_ends)
    with paddle.static.program_guard(program):
        pir.reset_insertion_point_to_end()
        given = [paddle.static.data(f"{GIVEN}{i}", list(end.shape), end.dtype) for i, end in enumerate(found_ends)]
        gradients = gradients_of(found_ends, values, given)
        wanted = []
        for layer, gradient, value, x in zip(layers, gradients, values, inputs):
            squares = paddle.zeros([1]) if gradient is None else paddle.square(gradient.astype("float32"))
            wanted.append(squares if gradient is None else squares.sum(_others(squares, _axis(layer, value))))
            others, x = _others(x, _axis(layer, x)), x.astype("float32")
            wanted += [x.mean(others), paddle.square(x).mean(others)]
    executor = paddle.static.Executor(model.place)
    sizes: list[float] = []
    rows = min(PORTION, rows_within(model, batches, ROOM, sum)) if batches else 1
    for kind, feed in _in_turn(model, batches, rows):
        given_back = executor.run(forward, feed=taken(forward, feed), fetch_list=ends_there, scope=model.scope)
        answers = [bfloat16.numbers(z) for z in given_back]
        sizes = sizes or [_size(z) for z in answers]
        r = [_random(z, size, kind, random) for z, size in zip(answers, sizes)]
        cotangents = {f"{GIVEN}{i}": bfloat16.as_paddle(one, z.dtype) for i, (one, z) in enumerate(zip(r, given_back))}
        got = executor.run(program, feed={**feed, **cotangents}, fetch_list=wanted, scope=model.scope)
        arrays = [np.asarray(array, np.float64) for array in got]
        trim()
        yield kind, float(sum(np.square(one).sum() for one in r)), zip(*(arrays[i::3] for i in range(3)))


def _in_turn(model: Model, batches: Sequence[Feed], rows: int) -> Iterator[tuple[int, Feed]]:
    """The kind of r and the samples of each pass; over some rounds each sample meets both kinds."""
    count = 0
    for round_ in range(LEAST):
        for i, feed in enumerate(islice(portions(model, batches, rows), PASSES - count)):
            yield (i + round_) % 2, feed
            count += 1
        if count >= LEAST:
            return


def _others(value: Any, axis: int) -> list[int]:
    return [i for i in range(len(value.shape)) if i != axis]


def _size(answer: np.ndarray) -> float:
    """Root mean square; 1 of nothing."""
    return float(np.sqrt(np.mean(np.square(answer, dtype=np.float64)))) if answer.any() else 1.0


def _random(answer: np.ndarray, size: float, kind: int, random: np.random.Generator) -> np.ndarray:
    """r of each sample."""
    if kind == 0 or answer.ndim != 2 or answer.shape[1] < 2:
        scale = size * max(answer[:1].size, 1) ** 0.5
        normal: np.ndarray = random.standard_normal(answer.shape) / scale
        return normal
    part = np.exp(answer.astype(np.float64) - answer.max(1, keepdims=True))
    part /= part.sum(1, keepdims=True)
    drawn = (part.cumsum(1) >= random.random((len(part), 1)) * (1.0 - 1e-9)).argmax(1)
    likely: np.ndarray = np.eye(part.shape[1])[drawn] - part  # d log p(drawn) / dz
    return likely
