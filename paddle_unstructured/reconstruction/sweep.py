# SPDX-License-Identifier: Apache-2.0
"""Layer after layer, in the order of execution: later layers repair what earlier ones have lost."""

from __future__ import annotations

import logging
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from itertools import groupby, product
from typing import Any, Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import paddle

from ..distributed.collectives import mode
from ..formats import bfloat16
from ..graph import PirGraph
from ..masking.update import PrunedLayer
from ..ranking.one_layer import keep_highest
from .layers import SolvableLayer
from .moments import Moments, energy
from .recurrent import RecurrentLayer, Weights
from .rounding import compensated, nearest
from .samples import PARTS, Feed
from .segments import Live, Piece, Pieces
from .solve import Effort, refit, solve
from .spill import Spill, collect, let_go, trim
from .worth import Worth

_log = logging.getLogger(__name__)

DAMPINGS = (0.01, 0.1, 1.0)
_NOTHING: tuple[np.ndarray, np.ndarray] = np.empty(0), np.empty(0)
_LARGE = 1e6  # bytes of a batch: what is left of it is worth looking for


@dataclass(frozen=True)
class Refit:
    """What became of one layer.

    Attributes:
        name: of the weight.
        weights, zeros: counts.
        before: error of the layer's outputs on held-back inputs with the largest weights kept, as a part of
            what the dense outputs vary by; each output counts by its worth.
        after: the same now.
        damping: the λ that held-back inputs chose; None if no weight that stays has changed.
        note: why it was not solved for, or what to know of it.
        nearest: what rounding each weight to the level next to it adds, as a part of the same; None where none is.
        rounded: what rounding adds where others make up for it.
        reached: whether any row of the data came to it.
    """

    name: str
    weights: int
    zeros: int
    before: float | None = None
    after: float | None = None
    damping: float | None = None
    note: str = ""
    nearest: float | None = None
    rounded: float | None = None
    reached: bool = True


Told = Callable[[Refit, float], None]  # a layer that is done, and the part of the work that is done then


@dataclass
class Batch:
    """What is known of one batch in both nets at the present cut; one and the same until the first layer is changed."""

    dense: Live
    sparse: Live
    part: str  # one of PARTS

    @property
    def is_large(self) -> bool:
        return sum(array.nbytes for array in self.dense.values()) > _LARGE

    def settle(self, spill: Spill) -> None:
        """Leave to `spill` where the arrays wait for the next piece."""
        same = self.sparse is self.dense
        self.dense = spill.kept(self.dense)
        self.sparse = self.dense if same else spill.kept(self.sparse)


def sweep(
    graph: PirGraph,
    dense: Any,
    layers: Sequence[tuple[PrunedLayer, SolvableLayer]],
    batches: Sequence[tuple[Feed, str]],
    worth: Mapping[str, Worth],
    *,
    seed: int,
    memory: float,
    most: int | None,
    told: Told,
    fixed: bool = False,
) -> list[Refit]:
    """Find masks and weights of all layers; the scope of `graph`, pruned by magnitude, is changed layer by layer.

    Args:
        graph: of the inference Program.
        dense: a scope with the dense weights.
        layers: what is to be solved, in any order.
        batches: (feeds, which of PARTS they are).
        worth: of layers, by name of the weight: errors of outputs are weighted with it.
        seed: of the positions that are looked at.
        memory: bytes that activations and the sums of one layer may take; what is more waits in files.
        most: largest level of the grid that weights are rounded to; None: they are not.
        told: called after each layer.
        fixed: masks stay as they are; weights are found anew where inputs have changed, and rounded.
    """
    pieces, random = Pieces(graph.program, graph.place), np.random.default_rng(seed)
    spill = Spill(max(memory - _room_for_sums(pruned for pruned, _ in layers), 0.0))
    state = []
    for feeds, part in sorted(batches, key=lambda pair: PARTS.index(pair[1])):
        live = pieces.start(feeds)
        state.append(Batch(live, live, part))
    cost, spent = {layer: _cost(pruned) for pruned, layer in layers}, 0.0
    at, found, changed = 0, [], False
    for group in _groups(pieces, layers):
        cut_at = pieces.index(group[0][1].op)
        asked = [_Asked.of(graph.scope, dense, pruned, layer, worth.get(pruned.param.name)) for pruned, layer in group]
        coming = _advanced(pieces.between(at, cut_at), state, graph.scope, dense, changed)
        for part, some in groupby(coming, lambda batch: batch.part):  # large sums of one part at a time
            for batch in some:
                for one in asked:
                    one.take(batch, random)
                batch.settle(spill)
                trim()
            for one in asked:
                if not one.layer.also:
                    one.moments[part].wait()
        if state[0].is_large:
            collect()
        for one in asked:
            for reader in one.layer.also:
                ahead = pieces.between(0, pieces.index(reader.op))
                for feeds, part in batches:
                    one.add(reader, ahead.run(pieces.start(feeds), dense), part, random)
                    trim()
            one.settle()
        at = cut_at
        for pruned, layer in group:
            done = _refit(graph, pruned, asked.pop(0), most, changed, fixed)
            found.append(done)
            spent += cost[layer]
            told(done, spent / sum(cost.values()))
        changed = True
    return found


def _inputs(pruned: PrunedLayer) -> float:
    param = pruned.param
    return param.size / max(param.shape[param.output_axis or 0], 1)


def _cost(pruned: PrunedLayer) -> float:
    """About what a layer costs, in multiplications: the solver's, and a pass of some rows."""
    return pruned.param.size * (_inputs(pruned) + 1000.0)


def _room_for_sums(layers: Iterable[PrunedLayer]) -> float:
    """Bytes of the largest layer's sums, and of the two that the solver makes of them: activations make room."""
    return 3.0 * max((4.0 * _inputs(pruned) ** 2 for pruned in layers), default=0.0)


def _groups(
    pieces: Pieces, layers: Sequence[tuple[PrunedLayer, SolvableLayer]]
) -> Iterator[list[tuple[PrunedLayer, SolvableLayer]]]:
    """Layers that read the same value, in the order of their first op."""
    ordered = sorted(layers, key=lambda pair: (pieces.index(pair[1].op), pair[1].turn))
    groups: dict[tuple[str, int], list[tuple[PrunedLayer, SolvableLayer]]] = {}
    for pair in ordered:
        groups.setdefault((pair[1].input.id, pair[1].turn), []).append(pair)
    yield from groups.values()


def _advanced(piece: Piece, state: Sequence[Batch], scope: Any, dense: Any, changed: bool) -> Iterator[Batch]:
    """Carry each batch through a piece, the dense net beside the pruned one, while the batch before is looked at."""
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:  # of each net one batch at a time
        coming: deque[tuple[Batch, Future[Live], Future[Live]]] = deque()
        for batch in state:
            wanted = one.submit(_carried, piece, batch.dense, dense)
            if not coming:
                wait([wanted])  # what is compiled is compiled by one
            had = other.submit(_carried, piece, batch.sparse, scope) if changed else wanted
            if not coming:
                wait([had])
            coming.append((batch, wanted, had))
            if len(coming) > 1:
                yield _arrived(*coming.popleft())
        while coming:
            yield _arrived(*coming.popleft())


def _carried(piece: Piece, live: Live, scope: Any) -> Live:
    found = piece.run(live, scope)
    for array in live.values():
        let_go(array)
    return found


def _arrived(batch: Batch, wanted: Future[Live], had: Future[Live]) -> Batch:
    batch.dense = batch.sparse = wanted.result()
    batch.sparse = had.result()
    return batch


@dataclass
class _Asked:
    """A layer that is to be solved, and what is known of its data.

    Attributes:
        scale: what an error of each output counts: until the end each output is scaled by it.
        weight: the dense weight times `scale`, [groups, outputs, inputs].
        moments: of each of PARTS.
        own, dense: arrays of the two nets.
    """

    layer: SolvableLayer
    scale: np.ndarray
    weight: np.ndarray
    moments: dict[str, Moments]
    own: Weights
    dense: Weights

    @classmethod
    def of(cls, own: Any, dense: Any, pruned: PrunedLayer, layer: SolvableLayer, worth: Worth | None) -> _Asked:
        stored = _array(dense, pruned.param.name)
        scale = np.ones((1, 1, 1), np.float32) if worth is None else worth.scale(layer)
        weight = scale * layer.matrix(stored)
        moments = {part: Moments.empty(*weight.shape) for part in PARTS}
        return cls(layer, scale, weight, moments, *(partial(_array, scope) for scope in (own, dense)))

    def take(self, batch: Batch, random: np.random.Generator) -> None:
        """Look at the rows that the layer reads."""
        wanted, had = (bfloat16.numbers(live[self.layer.input.id]) for live in (batch.dense, batch.sparse))
        if isinstance(self.layer, RecurrentLayer):
            x, of = (
                self.layer.reads(live, arrays, self.dense)
                for live, arrays in ((batch.sparse, self.own), (batch.dense, self.dense))
            )
        else:
            places = self.layer.places(wanted.shape, random)
            x = self.layer.rows(had, places)
            of = x if had is wanted else self.layer.rows(wanted, places)
        self.moments[batch.part].add(x, of @ self.weight.transpose(0, 2, 1))
        let_go(wanted)
        let_go(had)

    def add(self, reader: SolvableLayer, dense: Live, part: str, random: np.random.Generator) -> None:
        """Look at what a further op will read with the same weight, in the dense net: the pruned one is not so far."""
        x = bfloat16.numbers(dense[reader.input.id])
        rows = reader.rows(x, reader.places(x.shape, random))
        self.moments[part].add(rows, rows @ self.weight.transpose(0, 2, 1))

    def settle(self) -> None:
        """All rows have been seen."""
        for seen in self.moments.values():
            seen.wait()


def _array(scope: Any, name: str) -> np.ndarray:
    return bfloat16.numbers(np.array(scope.find_var(name).get_tensor())).astype(np.float32, copy=False)


def _refit(graph: PirGraph, pruned: PrunedLayer, asked: _Asked, most: int | None, changed: bool, fixed: bool) -> Refit:
    """Solve one layer; what it finds goes into the scope.

    A layer that loses nothing is found anew too where its inputs have changed: it repairs what earlier ones lost. Of
    one that loses every weight only the bias is left to find.
    """
    param, layer = pruned.param, asked.layer
    scale, weight = asked.scale, asked.weight
    kept = scale * layer.matrix(graph.array(param.name).astype(np.float32))
    mask = layer.matrix(graph.mask(param))
    zeros = int(mask.size - mask.sum())
    is_left = zeros < mask.size
    searches = zeros > 0 and is_left and not fixed
    fit, choose, judge = asked.moments.values()

    def error(matrix: np.ndarray, seen: Moments, on: Moments) -> float:
        return on.error(matrix, seen.shift(matrix) if layer.sink else 0.0) / on.variation()

    def system(seen: Moments) -> tuple[np.ndarray, np.ndarray]:
        return seen.centred() if layer.sink else (seen.second, seen.cross)

    def solved(second: np.ndarray, cross: np.ndarray, damping: float, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        if not searches:
            return refit(second, cross, weight, damping, mask), mask
        return solve(second, cross, weight, damping, project, penalty=penalty)

    project = projection(pruned, layer, zeros)
    large = project(weight / scale, 1.0) if searches else mask
    left = [(kept, mask), (weight * large, large)]  # "left as it was" is a candidate
    least, choice = min(error(matrix, fit, choose) for matrix, _ in left), None
    penalties = Effort.for_inputs(weight.shape[-1]).penalties if searches else (1.0,) if changed and is_left else ()
    seen = system(fit) if penalties else _NOTHING
    for damping, penalty in product(DAMPINGS, penalties):
        found = error(solved(*seen, damping, penalty)[0], fit, choose)
        if found < least:
            least, choice = found, (damping, penalty)
    fit.include(choose)
    fit.wait()
    seen = system(fit) if choice or (most is not None and is_left) else _NOTHING
    # What was chosen is solved for once more on all that may be looked at.
    candidates = [*left, *([solved(*seen, *choice)] if choice else [])]
    found_errors = [error(matrix, fit, judge) for matrix, _ in candidates]
    before, after = found_errors[1], min(found_errors)
    best = found_errors.index(after)
    matrix, mask = candidates[best][0] * candidates[best][1], candidates[best][1]
    chosen = choice[0] if choice and best == len(left) else None
    unscaled = matrix / scale
    errors: dict[str, float] = {}
    if most is not None and not is_left:
        errors = {"nearest": 0.0, "rounded": 0.0}
    elif most is not None:
        rounded, other = (nearest(unscaled, most), compensated(seen[0], unscaled, mask, most)), system(judge)[0]
        plain, better = (energy(other, scale * (one - unscaled)) / judge.variation() for one in rounded)
        errors = {"nearest": plain, "rounded": min(plain, better)}
        unscaled = rounded[better < plain]
        matrix = scale * unscaled
    if best or most is not None:
        graph.put(param.name, layer.stored(unscaled))
        graph.set_mask(param, layer.stored(mask))
    if layer.sink:
        _shift(graph, layer, fit.shift(matrix) / scale[..., 0])
    zeros = int(mask.size - mask.sum())
    return Refit(param.name, param.size, zeros, before, after, chosen, _note(fit), reached=fit.count > 0, **errors)


def _note(seen: Moments) -> str:
    """What to know of the data of a layer."""
    inputs = seen.inputs.size
    never = int((np.einsum("gii->gi", seen.second) == 0).sum())
    let_go(seen.second)
    if not seen.count:
        return "no row reaches it on this data"
    if never == inputs:
        return "all its inputs are zero on this data"
    few = f"{seen.count} rows for {seen.inputs.shape[1]} inputs, so damping matters"
    notes = [few] if seen.count < seen.inputs.shape[1] else []
    return "; ".join([*notes, f"{never} of {inputs} inputs are always zero"] if never else notes)


def projection(pruned: PrunedLayer, layer: SolvableLayer, zeros: int) -> Callable[[np.ndarray, float], np.ndarray]:
    """What the pattern keeps of values [groups, outputs, inputs] when `part` of `zeros` weights fall."""
    param, pattern = pruned.param, pruned.pattern
    with mode(paddle.disable_static):
        of_units = pattern.size(param)
        size = of_units if isinstance(of_units, int) else of_units.numpy()
    at_once = pattern.limit(param) < param.size  # n:m means one sparsity only

    def units(values: np.ndarray) -> np.ndarray:
        scores = paddle.to_tensor(np.abs(layer.stored(values)), place=paddle.CPUPlace())
        return np.asarray(pattern.units(scores, param).numpy())

    def project(values: np.ndarray, part: float) -> np.ndarray:
        fall = zeros if at_once else round(zeros * part)
        with mode(paddle.disable_static), paddle.no_grad():
            kept = keep_highest(units(values), size, fall, fill=True)
            keep = pattern.spread(paddle.to_tensor(kept.astype(np.float32)), param).numpy() != 0
        return layer.matrix(keep)

    return project


def _shift(graph: PirGraph, layer: SolvableLayer, shift: np.ndarray) -> None:
    """Add a constant to each output."""
    assert layer.sink is not None
    before = graph.array(layer.sink)
    graph.put(layer.sink, before + (layer.sign * shift).reshape(before.shape))
