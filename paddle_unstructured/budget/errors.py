# SPDX-License-Identifier: Apache-2.0
"""What each layer costs at each sparsity: the error of the net's outputs if that layer alone is pruned and repaired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Sequence, Union

import numpy as np

from ..masking.update import PrunedLayer
from ..reconstruction.answers import relative
from ..reconstruction.layers import SolvableLayer, solvable
from ..reconstruction.moments import Moments
from ..reconstruction.samples import Feed
from ..reconstruction.segments import Live, Pieces
from ..reconstruction.solve import Effort, solve
from ..reconstruction.spill import Spill
from ..reconstruction.sweep import projection
from ..reconstruction.worth import Worth
from ..saved_model import Model
from .levels import Levels, keep

_ANCHORS = (0.0, 0.5, 0.7, 0.85, 0.95, 1.0)  # parts of the most zeros: where errors are measured
_DAMPING = 0.1
_EFFORT = Effort(12, 8)  # of the solver: a fraction of what the pruned net gets
_MEMORY = 0.5e9  # bytes of activations


@dataclass(frozen=True, eq=False)
class Alone:
    """One layer, pruned and repaired at some sparsities while all others are as they were.

    Attributes:
        layer: it.
        way: how its weight is found anew; None where it is left as the magnitudes say.
        dense: its weight.
        anchors: zeros at which it was pruned, rising, 0 first.
        ranks: at each of them what weights are worth then, 0 for one that fell: float16, in the shape of the weight.
        errors: squared error of the outputs at each of its levels, float64 [levels].
    """

    layer: PrunedLayer
    way: SolvableLayer | None
    dense: np.ndarray
    anchors: tuple[int, ...]
    ranks: tuple[np.ndarray, ...]
    errors: np.ndarray

    def mask(self, zeros: int) -> np.ndarray:
        """What stays of it with so many zeros: what stays at the next anchor, then what is worth most at the last."""
        if not zeros:
            return np.ones(self.dense.shape, bool)
        below = max(i for i, anchor in enumerate(self.anchors) if anchor <= zeros)
        above = below if self.anchors[below] == zeros else min(below + 1, len(self.anchors) - 1)
        worth = self.ranks[below].astype(np.float32)
        return keep(self.layer, worth + 2.0 * (self.ranks[above] > 0), zeros)


def output_errors(
    model: Model,
    layers: Sequence[PrunedLayer],
    levels: Levels,
    fitted: Sequence[Feed],
    judged: Sequence[Feed],
    worth: Mapping[str, Worth],
    *,
    seed: int,
) -> dict[str, Alone]:
    """Prune each layer alone at some of its sparsities: |y' - y|² / |y|² of the outputs, on held-back inputs.

    A layer is pruned as `reconstruct` does it, with less effort; one that it does not solve for by magnitude.

    Args:
        model: the dense model; its weights are changed, and put back.
        layers: those to look at.
        levels: zeros of each.
        fitted, judged: inputs that layers are repaired on, and that outputs are compared on.
        worth: of layers, by name of the weight: errors of outputs are weighted with it.
        seed: of the positions of images that are looked at.

    Returns:
        By name of the weight, in the order of execution; errors are 0 at the first level, and never fall.
    """
    graph, random = model.graph, np.random.default_rng(seed)
    expected = [model.run(**feed) for feed in judged]
    pieces, spill = Pieces(graph.program, graph.place), Spill(_MEMORY)
    lives, at, found = [pieces.start(feed) for feed in fitted], 0, {}
    for cut, layer, way in in_order(pieces, graph, layers):
        name, dense = layer.param.name, graph.stored(layer.param.name)
        seen, scale = None, np.ones((1, 1, 1), np.float32)
        if way is not None:
            lives, at = advanced(pieces, lives, at, cut, model.scope, spill), cut
            scale = worth[name].scale(way) if name in worth else scale
            seen = _moments(way, scale * way.matrix(dense.astype(np.float32)), lives, random)
        anchors, ranks, errors = _anchors(levels[name]), list[np.ndarray](), list[float]()
        sink = way.sink if way is not None else None
        own = {each: graph.stored(each) for each in (name, sink) if each}
        try:
            for zeros in anchors:
                pruned, rank = _pruned(layer, way, dense, seen, scale, zeros)
                graph.store(name, pruned.astype(dense.dtype))
                if way is not None and seen is not None and sink:
                    shift = seen.shift(scale * way.matrix(pruned.astype(np.float32))) / scale[..., 0]
                    graph.store(sink, (own[sink] + (way.sign * shift).reshape(own[sink].shape)).astype(own[sink].dtype))
                errors.append(relative(expected, [model.run(**feed) for feed in judged]) if zeros else 0.0)
                ranks.append((rank / max(float(rank.max()), 1e-30)).astype(np.float16))
        finally:
            for each, array in own.items():
                graph.store(each, array)
        found[name] = Alone(layer, way, dense, tuple(anchors), tuple(ranks), between(anchors, errors, levels[name]))
    return found


def in_order(
    pieces: Pieces, graph: Any, layers: Sequence[PrunedLayer]
) -> list[tuple[int, PrunedLayer, SolvableLayer | None]]:
    """Where each layer is run, it, and how it is solved; those that are not solved for at the end."""
    found = list[tuple[int, PrunedLayer, Union[SolvableLayer, None]]]()
    for layer in layers:
        way = solvable(graph, layer.param)
        known = (pieces.index(way.op), layer, way) if isinstance(way, SolvableLayer) else (pieces.end, layer, None)
        found.append(known)
    return sorted(found, key=lambda one: one[0])


def between(anchors: Sequence[int], errors: Sequence[float], levels: Sequence[int]) -> np.ndarray:
    """Errors at all levels: never falling, and log(error) linear in the zeros; up to the first anchor, as zeros³.

    The squares of the smallest of many numbers of a smooth density sum to that, and small sparsities are where most of
    a choice is decided.
    """
    rising = np.maximum.accumulate(np.asarray(errors, np.float64))
    smallest = max(float(rising[1]) if len(rising) > 1 else 0.0, 1e-12)
    found = np.exp(np.interp(levels, anchors, np.log(np.maximum(rising, 1e-12))))
    below = np.asarray(levels) < (anchors[1] if len(anchors) > 1 else 1)
    part = np.asarray(levels, np.float64) / max(anchors[1] if len(anchors) > 1 else 1, 1)
    return np.where(below, smallest * part**3, found)


def _anchors(levels: Sequence[int]) -> list[int]:
    """Zeros at which errors are measured; the ends of what is asked for among them."""
    size = levels[-1]
    if len(levels) <= len(_ANCHORS):
        return list(levels)
    nearest = [min(levels, key=lambda zeros: abs(zeros - part * size)) for part in _ANCHORS]
    return sorted({0, size, *nearest})


def advanced(pieces: Pieces, lives: list[Live], start: int, stop: int, scope: Any, spill: Spill) -> list[Live]:
    """What is known of each batch at a later cut."""
    if start == stop:
        return lives
    piece = pieces.between(start, stop)
    for i, live in enumerate(lives):  # in place: what goes makes room
        lives[i] = spill.kept(piece.run(live, scope))
    return lives


def _moments(way: SolvableLayer, weight: np.ndarray, lives: Sequence[Live], random: np.random.Generator) -> Moments:
    found, turned = Moments.empty(*weight.shape), np.ascontiguousarray(weight.transpose(0, 2, 1))
    for live in lives:
        x = live[way.input.id]
        rows = way.rows(x, way.places(x.shape, random))
        found.add(rows, rows @ turned)
    return found


def _pruned(
    layer: PrunedLayer,
    way: SolvableLayer | None,
    dense: np.ndarray,
    seen: Moments | None,
    scale: np.ndarray,
    zeros: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The weight with so many zeros, and what each is worth; both in its shape."""
    if way is None or seen is None or not zeros:
        kept = keep(layer, dense, zeros) if zeros else np.ones(dense.shape, bool)
        worth = np.abs(dense if way is None else way.stored(scale * way.matrix(dense.astype(np.float32))))
        return dense * kept, worth * kept
    second, cross = seen.centred() if way.sink else (seen.second, seen.cross)
    weight = scale * way.matrix(dense.astype(np.float32))
    found, mask = solve(second, cross, weight, _DAMPING, projection(layer, way, zeros), effort=_EFFORT)
    return way.stored(found * mask / scale), np.abs(way.stored(found * mask))
