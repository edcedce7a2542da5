# SPDX-License-Identifier: Apache-2.0
"""What a choice for all layers costs: they are pruned together, repaired one after the other, and the outputs compared.

Masks are those that were found for each layer alone, so that a trial costs little more than a pass of the data: what
`reconstruct` searches for takes most of its time.
"""

from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np

from ..masking.update import PrunedLayer
from ..reconstruction.answers import relative
from ..reconstruction.layers import SolvableLayer
from ..reconstruction.moments import Moments
from ..reconstruction.samples import Feed
from ..reconstruction.segments import Piece, Pieces
from ..reconstruction.solve import refit
from ..reconstruction.spill import Spill
from ..saved_model import Model
from .errors import Alone, in_order

_DAMPING = 0.1
_MEMORY = 0.5e9  # bytes of the layers' outputs in the dense net, and as many of activations


class Trials:
    """A net whose layers are pruned and repaired together, as often as one likes.

    Args:
        model: the dense model; its weights are changed by a trial, and put back.
        layers: all that are pruned, those too that lose nothing.
        alone: of those that may lose something, by name of the weight.
        fitted, judged: inputs that layers are repaired on, and that outputs are compared on.
        seed: of the positions of images that are looked at.
    """

    def __init__(
        self,
        model: Model,
        layers: Sequence[PrunedLayer],
        alone: Mapping[str, Alone],
        fitted: Sequence[Feed],
        judged: Sequence[Feed],
        *,
        seed: int,
    ) -> None:
        self._model, self._alone, self._seed = model, alone, seed
        self._judged, self._expected = judged, [model.run(**feed) for feed in judged]
        graph = model.graph
        self._pieces = Pieces(graph.program, graph.place)
        self._starts = [self._pieces.start(feed) for feed in fitted]
        self._order = [
            (cut, layer, way) for cut, layer, way in in_order(self._pieces, graph, layers) if way is not None
        ]
        self._unsolved = [one for one in alone.values() if one.way is None]
        self._made: dict[int, Piece] = {}  # by where it ends; they are the same in every trial
        self._wanted: dict[str, list[np.ndarray]] = {}
        self._known: dict[tuple[int, ...], float] = {}
        self._spill = Spill(_MEMORY)
        self._sweep({}, Spill(_MEMORY))

    def error(self, zeros: Mapping[str, int]) -> float:
        """|y' - y|² / |y|² of the outputs when each layer loses so many weights; one that is not named loses none."""
        key = tuple(zeros.get(name, 0) for name in self._alone)
        if key not in self._known:
            self._known[key] = self._measured(zeros)
        return self._known[key]

    def _measured(self, zeros: Mapping[str, int]) -> float:
        graph = self._model.graph
        own = {name: graph.stored(name) for name in self._touched()}
        try:
            for one in self._unsolved:
                name = one.layer.param.name
                graph.store(name, one.dense * one.mask(zeros.get(name, 0)))
            self._sweep(zeros, Spill(_MEMORY))
            return relative(self._expected, [self._model.run(**feed) for feed in self._judged])
        finally:
            for name, array in own.items():
                graph.store(name, array)

    def _touched(self) -> list[str]:
        sinks = [way.sink for _, _, way in self._order if way.sink]
        return [*self._alone, *(layer.param.name for _, layer, _ in self._order), *sinks]

    def _sweep(self, zeros: Mapping[str, int], spill: Spill) -> None:
        """Layer after layer; the first time what each gives in the dense net is kept."""
        lives, at, changed = list(self._starts), 0, False
        for i, (cut, layer, way) in enumerate(self._order):
            if cut > at:
                if cut not in self._made:
                    self._made[cut] = self._pieces.between(at, cut)
                for batch, live in enumerate(lives):  # in place: what goes makes room
                    lives[batch] = spill.kept(self._made[cut].run(live, self._model.scope))
                at = cut
            changed = changed or zeros.get(layer.param.name, 0) > 0
            if not changed and layer.param.name in self._wanted:
                continue
            random = np.random.default_rng([self._seed, i])
            rows = []
            for live in lives:
                x = live[way.input.id]
                rows.append(way.rows(x, way.places(x.shape, random)))
            self._repair(layer, way, rows, zeros)

    def _repair(
        self, layer: PrunedLayer, way: SolvableLayer, rows: Sequence[np.ndarray], zeros: Mapping[str, int]
    ) -> None:
        graph, name = self._model.graph, layer.param.name
        stored = graph.stored(name)
        weight = way.matrix(stored.astype(np.float32))
        if name not in self._wanted:
            turned = np.ascontiguousarray(weight.transpose(0, 2, 1))
            self._wanted[name] = [self._spill.kept({"": x @ turned})[""] for x in rows]
            return
        seen = Moments.empty(*weight.shape)
        for x, y in zip(rows, self._wanted[name]):
            seen.add(x, y)
        second, cross = seen.centred() if way.sink else (seen.second, seen.cross)
        fall = zeros.get(name, 0)
        mask = way.matrix(self._alone[name].mask(fall)) if fall else np.ones(weight.shape, bool)
        weight = refit(second, cross, weight, _DAMPING, mask)
        graph.store(name, way.stored(weight).astype(stored.dtype))
        if way.sink:
            self._shift(way, seen.shift(weight))

    def _shift(self, way: SolvableLayer, shift: np.ndarray) -> None:
        graph = self._model.graph
        assert way.sink is not None
        stored = graph.stored(way.sink)
        graph.store(way.sink, (stored + (way.sign * shift).reshape(stored.shape)).astype(stored.dtype))
