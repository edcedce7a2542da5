# SPDX-License-Identifier: Apache-2.0
"""How long each layer of a net takes at each sparsity: the net itself is converted, run and clocked, step by step."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Iterable, Iterator, Mapping, Sequence

import numpy as np

from ..masking.update import PrunedLayer
from ..runtime.engine import Engine
from ..runtime.int8.options import Int8
from ..runtime.int8.quantize import batches_of, calibrate
from ..runtime.net import Layer, Net
from ..runtime.plan import PlanWriter
from ..runtime.read_net import read_net
from ..runtime.reader import Refusal
from ..runtime.write_plan import emitted
from ..saved_model import Model
from .levels import Levels, masked

_ROUNDS = 7  # of each net, at least
_SECONDS = 4.0  # at least, of nets that run in turn: a processor whose host has other guests is slow for seconds
_QUANTILE = 0.1  # of runs: others are interrupted, on a busy machine or by another guest of its host
_GAIN = 0.97  # of a layer's time
_BYTES = 1e9  # of nets that are held at the same time


@dataclass(frozen=True)
class Times:
    """What a net takes, in seconds of one run.

    Attributes:
        layers: name of each pruned weight -> seconds of its step at each of its levels, float64 [levels].
        fixed: all other steps, and what a run takes beside its steps: copies at the border, the call.
    """

    layers: Mapping[str, np.ndarray]
    fixed: float

    @property
    def dense(self) -> float:
        """The net without zeros."""
        return self.fixed + sum(float(each[0]) for each in self.layers.values())

    def of(self, name: str, zeros: int, levels: Levels) -> float:
        """One layer with so many zeros; linear between its levels."""
        return float(np.interp(zeros, levels[name], self.layers[name]))

    @property
    def fastest(self) -> float:
        """The net with every layer at its fastest level."""
        return self.fixed + sum(float(each.min()) for each in self.layers.values())


@dataclass(frozen=True)
class Planned:
    """A net that is written down.

    Attributes:
        writer: its plan.
        steps: name of a weight -> the steps of the plan that read it.
    """

    writer: PlanWriter
    steps: Mapping[str, tuple[int, ...]]


def planned(model: Model, int8: Int8 | None) -> Planned:
    """A model as `convert` would write it.

    Raises:
        ValueError: The runtime does not take it whole.
    """
    try:
        net = read_net(model)
    except Refusal as refusal:
        raise ValueError(
            f"a budget in time needs a model that is converted whole, and of {model.files.prefix} only parts are: "
            f"{refusal}; give a ratio instead, and measure with `benchmark`."
        ) from refusal
    if int8 is None:
        emitter = emitted(net)
        return Planned(emitter.writer, _steps(net, emitter.values))
    whole = calibrate(net, int8, batches_of(net, int8))
    writer_of = whole.emitter()
    writer, _ = writer_of.run()
    own = {layer: value for (layer, _), value in reversed(writer_of.made.items())}  # the first of each is its own
    values = {**writer_of.outside.values, **own}
    values.update({conv: values[summed] for summed, conv in writer_of.fused.items()})
    return Planned(writer, _steps(whole.net, values))


def _steps(net: Net, values: Mapping[Layer, int]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for layer, value in values.items():
        if layer.kind in ("conv", "linear", "recurrent") and layer.name:
            found[layer.name] = tuple(sorted({*found.get(layer.name, ()), value - len(net.inputs)}))
    return found


@dataclass(frozen=True)
class Clocked:
    """Seconds of one net.

    Attributes:
        steps: of each step.
        beside: of a run beside its steps, in the same runs; of long runs none may be undisturbed, where steps are.
        whole: of a whole run, without a clock inside.
    """

    steps: np.ndarray
    beside: float
    whole: float


def clock(nets: Iterable[Planned], inputs: Sequence[np.ndarray], *, threads: int) -> list[Clocked]:
    """Run nets in turn, each some times in a row, as one that is in use; the lower tenth of each step counts.

    Args:
        nets: plans; they are asked for one after the other, and those that fit into a gigabyte run together.
        inputs: arrays that they run on.
        threads: threads of one run.
    """
    found = list[Clocked]()
    for group in _groups(nets):
        engines = [Engine(net.writer.text, net.writer.arrays, threads=threads) for net in group]
        del group[:]
        steps: list[list[np.ndarray]] = [[] for _ in engines]
        besides: list[list[float]] = [[] for _ in engines]
        wholes: list[list[float]] = [[] for _ in engines]
        begun, rounds = time.perf_counter(), 0
        while rounds < _ROUNDS or time.perf_counter() - begun < _SECONDS:
            rounds += 1
            for engine, of_steps, beside, of_whole in zip(engines, steps, besides, wholes):
                engine.run(*inputs)
                for _ in range(3):
                    before = time.perf_counter()
                    of_steps.append(engine.profile(*inputs))
                    between = time.perf_counter()
                    engine.run(*inputs)
                    of_whole.append(time.perf_counter() - between)
                    beside.append(between - before - float(of_steps[-1].sum()))
        for of_steps, beside, of_whole in zip(steps, besides, wholes):
            low = np.asarray(np.quantile(np.array(of_steps), _QUANTILE, axis=0))
            found.append(Clocked(low, float(np.quantile(beside, _QUANTILE)), float(np.quantile(of_whole, _QUANTILE))))
    return found


def _groups(nets: Iterable[Planned], most: float = _BYTES) -> Iterator[list[Planned]]:
    """Nets that together are no larger than is to be held, two at least."""
    group, held = list[Planned](), 0.0
    for net in nets:
        size = float(sum(array.nbytes for array in net.writer.arrays))
        if len(group) >= 2 and held + size > most:
            yield group
            group, held = [], 0.0
        group.append(net)
        held += size
    if group:
        yield group


def variants(model: Model, layers: Sequence[PrunedLayer], levels: Levels, int8: Int8 | None) -> Iterator[Planned]:
    """The net at each level, all layers at once; a layer that has fewer levels stays at its last."""
    graph, dense = model.graph, {layer.param.name: model.graph.stored(layer.param.name) for layer in layers}
    try:
        for level in range(max(map(len, levels.values()))):
            for layer in layers:
                own = levels[layer.param.name]
                zeros = own[min(level, len(own) - 1)]
                graph.store(layer.param.name, masked(layer, dense[layer.param.name], zeros))
            yield planned(model, int8)
    finally:
        for name, array in dense.items():
            graph.store(name, array)


def table(net: Planned, clocked: Sequence[Clocked], levels: Levels) -> Times:
    """Seconds by layer and level, of a net that was clocked at each level.

    Less than 3 % of a layer is no gain: levels below that take as long as no zeros, as they do where the dense kernel
    runs them. A step whose work a later one does takes nothing: a depthwise convolution counts to the 1x1 one that
    reads it.
    """
    steps = np.array([each.steps for each in clocked])  # [levels, steps]
    layers = {}
    for name, own in levels.items():
        mine = list(net.steps.get(name, ()))
        taken = steps[: len(own), mine].sum(1)
        layers[name] = np.where(taken > _GAIN * taken[0], np.maximum(taken, taken[0]), taken)
    timed = {step for name in levels for step in net.steps.get(name, ())}
    others = [step for step in range(steps.shape[1]) if step not in timed]
    # The clock inside costs microseconds, and a long run is never undisturbed: the smaller of both is nearer.
    beside = np.median([min(each.beside, each.whole - float(each.steps.sum())) for each in clocked])
    return Times(layers, float(np.median(steps[:, others].sum(1)) + max(beside, 0.0)))
