# SPDX-License-Identifier: Apache-2.0
"""What each layer costs at each sparsity: the error of the net's outputs if that layer alone is pruned and repaired."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import numpy as np

from ..masking.update import PrunedLayer
from ..reconstruction.layers import SolvableLayer, solvable
from ..reconstruction.moments import Moments
from ..reconstruction.samples import Feed, of
from ..reconstruction.segments import Live, Pieces
from ..reconstruction.solve import Effort, solve
from ..reconstruction.spill import Spill
from ..reconstruction.sweep import projection
from ..saved_model import Model
from .levels import Levels, masked

_ANCHORS = (0.0, 0.5, 0.7, 0.85, 0.95, 1.0)  # parts of the most zeros: where errors are measured
_DAMPING = 0.1
_EFFORT = Effort(12, 8)  # of the solver: a fraction of what the pruned net gets
_JUDGED = 32  # samples that outputs are compared on
_FITTED = 128  # samples that layers are repaired on


def output_errors(
    model: Model, layers: Sequence[PrunedLayer], levels: Levels, batches: Sequence[tuple[Feed, str]], seed: int
) -> dict[str, np.ndarray]:
    """Squared errors of the outputs, |y' - y|² / |y|² on held-back inputs, if one layer alone is pruned.

    A layer is pruned as `reconstruct` does it, with less effort; one that it does not solve for by magnitude.

    Args:
        model: the dense model; its weights are changed, and put back.
        layers: those to look at.
        levels: zeros of each.
        batches: (feeds, what they are for).
        seed: of the positions of images that are looked at.

    Returns:
        Name of each weight -> error at each of its levels, float64 [levels]; 0 at the first, and rising.
    """
    graph, random = model.graph, np.random.default_rng(seed)
    judged, fitted = _first(of(batches, "choose"), _JUDGED), _first(of(batches, "fit"), _FITTED)
    expected = [model.run(**feed) for feed in judged]
    known = {layer.param.name: solvable(graph, layer.param) for layer in layers}
    pieces, spill = Pieces(graph.program, graph.place), Spill(0.5e9)
    lives, at, found = [pieces.start(feed) for feed in fitted], 0, {}
    order = sorted(layers, key=lambda layer: _index(pieces, known[layer.param.name]))
    for layer in order:
        name, way = layer.param.name, known[layer.param.name]
        dense = graph.stored(name)
        seen = None
        if isinstance(way, SolvableLayer):
            cut = pieces.index(way.op)
            lives, at = _advanced(pieces, lives, at, cut, model.scope, spill), cut
            seen = _moments(way, way.matrix(dense.astype(np.float32)), lives, random)
        anchors, errors = _anchors(levels[name]), []
        try:
            for zeros in anchors:
                pruned = masked(layer, dense, zeros) if seen is None else _repaired(layer, way, dense, seen, zeros)
                graph.store(name, pruned.astype(dense.dtype))
                errors.append(_error(expected, [model.run(**feed) for feed in judged]) if zeros else 0.0)
        finally:
            graph.store(name, dense)
        found[name] = between(anchors, errors, levels[name])
    return found


def between(anchors: Sequence[int], errors: Sequence[float], levels: Sequence[int]) -> np.ndarray:
    """Errors at all levels: never falling, and log(error) linear in the zeros; from 0 on the error itself is."""
    rising = np.maximum.accumulate(np.asarray(errors, np.float64))
    smallest = max(float(rising[1]) if len(rising) > 1 else 0.0, 1e-12)
    found = np.exp(np.interp(levels, anchors, np.log(np.maximum(rising, 1e-12))))
    below = np.asarray(levels) < (anchors[1] if len(anchors) > 1 else 1)
    line = smallest * np.asarray(levels, np.float64) / max(anchors[1] if len(anchors) > 1 else 1, 1)
    return np.where(below, line, found)


def _anchors(levels: Sequence[int]) -> list[int]:
    """Zeros at which errors are measured; the ends of what is asked for among them."""
    size = levels[-1]
    if len(levels) <= len(_ANCHORS):
        return list(levels)
    nearest = [min(levels, key=lambda zeros: abs(zeros - part * size)) for part in _ANCHORS]
    return sorted({0, size, *nearest})


def _index(pieces: Pieces, way: Any) -> int:
    return pieces.index(way.op) if isinstance(way, SolvableLayer) else pieces.end


def _advanced(pieces: Pieces, lives: list[Live], start: int, stop: int, scope: Any, spill: Spill) -> list[Live]:
    if start == stop:
        return lives
    piece = pieces.between(start, stop)
    spill.start()
    return [spill.kept(piece.run(live, scope)) for live in lives]


def _moments(way: SolvableLayer, weight: np.ndarray, lives: Sequence[Live], random: np.random.Generator) -> Moments:
    found, turned = Moments.empty(*weight.shape), np.ascontiguousarray(weight.transpose(0, 2, 1))
    for live in lives:
        x = live[way.input.id]
        rows = way.rows(x, way.places(x.shape, random))
        found.add(rows, rows @ turned)
    return found


def _repaired(layer: PrunedLayer, way: Any, dense: np.ndarray, seen: Moments, zeros: int) -> np.ndarray:
    if not zeros:
        return dense
    weight = way.matrix(dense.astype(np.float32))
    second, cross = seen.centred() if way.sink else (seen.second, seen.cross)
    found, mask = solve(second, cross, weight, _DAMPING, projection(layer, way, zeros), effort=_EFFORT)
    return np.asarray(way.stored(found * mask))


def _first(feeds: Sequence[Feed], most: int) -> list[Feed]:
    """Feeds of at most so many samples; one at least."""
    found, count = list[Feed](), 0
    for feed in feeds:
        found.append(feed)
        count += len(next(iter(feed.values())))
        if count >= most:
            break
    return found


def _error(expected: Sequence[Sequence[np.ndarray]], outputs: Sequence[Sequence[np.ndarray]]) -> float:
    pairs = [(a.astype(np.float64), b) for one, other in zip(expected, outputs) for a, b in zip(one, other)]
    scale = sum(float(np.square(a).sum()) for a, _ in pairs)
    return sum(float(np.square(a - b).sum()) for a, b in pairs) / max(scale, 1e-30)


def relative(errors: Mapping[str, np.ndarray], chosen: Mapping[str, int]) -> float:
    """The error of the outputs that these choices predict, if errors of layers are independent."""
    return float(sum(errors[name][level] for name, level in chosen.items()) ** 0.5)
