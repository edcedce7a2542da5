# SPDX-License-Identifier: Apache-2.0
"""Layer after layer, in the order of execution: later layers repair what earlier ones have lost."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import product
from typing import Any, Callable, Iterator, Mapping, Sequence

import numpy as np
import paddle

from ..distributed.collectives import mode
from ..graph import PirGraph
from ..masking.update import PrunedLayer
from ..ranking.one_layer import keep_highest
from .layers import SolvableLayer
from .moments import Moments
from .segments import Live, Pieces
from .solve import Effort, solve

_log = logging.getLogger(__name__)

DAMPINGS = (0.01, 0.1, 1.0)


@dataclass(frozen=True)
class Refit:
    """What became of one layer.

    Attributes:
        name: of the weight.
        weights, zeros: counts.
        before: error of the layer's outputs on held-back inputs with the weights that magnitudes keep, as a part of
            what the dense outputs vary by.
        after: the same now.
        damping: the λ that held-back inputs chose; None if the weights stayed as magnitudes left them.
        note: why it was not solved for, or what to know of it.
    """

    name: str
    weights: int
    zeros: int
    before: float | None = None
    after: float | None = None
    damping: float | None = None
    note: str = ""


@dataclass
class Batch:
    """What is known of one batch in both nets at the present cut; one and the same until the first layer is changed."""

    dense: Live
    sparse: Live
    held_back: bool


def sweep(
    graph: PirGraph,
    dense: Any,
    layers: Sequence[tuple[PrunedLayer, SolvableLayer]],
    batches: Sequence[tuple[Mapping[str, np.ndarray], bool]],
    *,
    seed: int,
    told: Callable[[Refit], None],
) -> list[Refit]:
    """Find masks and weights of all layers; the scope of `graph`, pruned by magnitude, is changed layer by layer.

    Args:
        graph: of the inference Program.
        dense: a scope with the dense weights.
        layers: what is to be solved, in any order.
        batches: (feeds, whether it is held back to judge on).
        seed: of the positions that are looked at.
        told: called after each layer.
    """
    pieces, random = Pieces(graph.program, graph.place), np.random.default_rng(seed)
    state = []
    for feeds, held_back in batches:
        live = pieces.start(feeds)
        state.append(Batch(live, live, held_back))
    at, found, changed = 0, [], False
    for group in _groups(pieces, layers):
        cut_at = pieces.index(group[0][1].op)
        _advance(pieces, state, at, cut_at, graph.scope, dense, changed)
        at = cut_at
        for pruned, layer in group:
            done = _refit(graph, dense, pruned, layer, state, random)
            found.append(done)
            told(done)
        changed = True
    return found


def _groups(
    pieces: Pieces, layers: Sequence[tuple[PrunedLayer, SolvableLayer]]
) -> Iterator[list[tuple[PrunedLayer, SolvableLayer]]]:
    """Layers that read the same value, in the order of their first op."""
    ordered = sorted(layers, key=lambda pair: pieces.index(pair[1].op))
    groups: dict[str, list[tuple[PrunedLayer, SolvableLayer]]] = {}
    for pair in ordered:
        groups.setdefault(pair[1].input.id, []).append(pair)
    yield from groups.values()


def _advance(
    pieces: Pieces, state: Sequence[Batch], start: int, stop: int, scope: Any, dense: Any, changed: bool
) -> None:
    piece = pieces.between(start, stop)
    for batch in state:
        before = batch.dense
        batch.dense = piece.run(before, dense)
        batch.sparse = piece.run(batch.sparse, scope) if changed else batch.dense


def _refit(
    graph: PirGraph,
    dense: Any,
    pruned: PrunedLayer,
    layer: SolvableLayer,
    state: Sequence[Batch],
    random: np.random.Generator,
) -> Refit:
    """Solve one layer; what it finds goes into the scope."""
    param = pruned.param
    stored = np.array(dense.find_var(param.name).get_tensor())
    weight, kept = layer.matrix(stored.astype(np.float32)), layer.matrix(graph.array(param.name))
    mask = layer.matrix(graph.mask(param))
    zeros = int(mask.size - mask.sum())
    seen, held = _moments(layer, weight, state, random)
    second, cross = seen.centred() if layer.sink else (seen.second, seen.cross)

    def judged(matrix: np.ndarray) -> float:
        return held.error(matrix, seen.shift(matrix) if layer.sink else 0.0) / held.variation()

    before = judged(kept)
    best = before
    choice: tuple[np.ndarray, np.ndarray, float | None] = kept, mask, None
    project = projection(pruned, layer, zeros)
    penalties = Effort.for_inputs(weight.shape[-1]).penalties
    for damping, penalty in product(DAMPINGS, penalties) if zeros else ():
        candidate, its_mask = solve(second, cross, weight, damping, project, penalty=penalty)
        error = judged(candidate)
        if error < best:
            best, choice = error, (candidate, its_mask, damping)
    matrix, mask, chosen = choice
    if chosen is not None:
        graph.store(param.name, layer.stored(matrix * mask).astype(stored.dtype))
        graph.set_mask(param, layer.stored(mask))
    if layer.sink:
        _shift(graph, layer, seen.shift(matrix))
    note = "" if seen.count >= weight.shape[-1] else f"{seen.count} rows for {weight.shape[-1]} inputs"
    return Refit(param.name, param.size, zeros, before, best, chosen, note)


def _moments(
    layer: SolvableLayer, weight: np.ndarray, state: Sequence[Batch], random: np.random.Generator
) -> tuple[Moments, Moments]:
    """Of the batches that are solved on, and of those that are held back."""
    seen, held = Moments.empty(*weight.shape), Moments.empty(*weight.shape)
    turned = np.ascontiguousarray(weight.transpose(0, 2, 1))
    for batch in state:
        wanted, had = batch.dense[layer.input.id], batch.sparse[layer.input.id]
        places = layer.places(wanted.shape, random)
        x = layer.rows(had, places)
        y = (x if had is wanted else layer.rows(wanted, places)) @ turned
        (held if batch.held_back else seen).add(x, y)
    return seen, held


def projection(pruned: PrunedLayer, layer: SolvableLayer, zeros: int) -> Callable[[np.ndarray, float], np.ndarray]:
    """What the pattern keeps of values [groups, outputs, inputs] when `part` of `zeros` weights fall."""
    param, pattern = pruned.param, pruned.pattern
    with mode(paddle.disable_static):
        of_units = pattern.size(param)
        size = of_units if isinstance(of_units, int) else of_units.numpy()
    at_once = pattern.limit(param) < param.size  # n:m means one sparsity only

    def project(values: np.ndarray, part: float) -> np.ndarray:
        fall = zeros if at_once else round(zeros * part)
        with mode(paddle.disable_static), paddle.no_grad():
            scores = paddle.to_tensor(np.abs(layer.stored(values)), place=paddle.CPUPlace())
            units = pattern.units(scores, param)
            kept = keep_highest(units.numpy(), size, fall)
            keep = pattern.spread(paddle.to_tensor(kept.astype(np.float32)), param).numpy() != 0
        return layer.matrix(keep)

    return project


def _shift(graph: PirGraph, layer: SolvableLayer, shift: np.ndarray) -> None:
    """Add a constant to each output."""
    assert layer.sink is not None
    stored = graph.stored(layer.sink)
    graph.store(layer.sink, (stored + (layer.sign * shift).reshape(stored.shape)).astype(stored.dtype))
