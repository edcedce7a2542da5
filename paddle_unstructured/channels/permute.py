# SPDX-License-Identifier: Apache-2.0
"""Reorder output channels before pruning in blocks, so that neighbours are alike and blocks keep more magnitude."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
import paddle

from ..arguments import number, sentence, whole
from ..graph import Param, PirGraph, open_graph, open_traced
from ..patterns import Block
from ..reporting.report import check_finite, check_initialized
from ..reporting.table import aligned
from ..selection import Select, all_weights, judge
from .follow import follow_channels
from .ops import Fixed
from .reorder import Moves, reorder, reordered

_ROLES = ("conv2d", "conv3d", "linear")
_POWERS = "2, 4, 8, 16 or 32"


@dataclass(frozen=True)
class Permuted:
    """What became of one layer.

    Attributes:
        param: Name of its weight.
        permuted: whether its output channels were reordered.
        reason: Why, or why not.
        kept_before, kept_after: Fraction of its squared magnitude that survives when `sparsity` of its blocks fall.
    """

    param: str
    permuted: bool
    reason: str
    kept_before: float
    kept_after: float


class Permutation(tuple[Permuted, ...]):
    """A `Permuted` for each layer; prints as a table."""

    def __str__(self) -> str:
        rows = [
            (row.param, f"{row.kept_before:.4f}", f"{row.kept_after:.4f}", "yes" if row.permuted else "no", row.reason)
            for row in self
        ]
        return aligned(("param", "kept before", "kept after", "permuted", "why"), rows, numbers=(1, 2))


def permute_channels(
    program: Any,
    m: int,
    *,
    n: int = 1,
    kernel: str = "whole",
    scope: Any = None,
    place: Any = None,
    select: Select = all_weights,
    sparsity: float = 0.75,
    input_spec: Sequence[Any] | None = None,
    optimizer: Any = None,
) -> Permutation:
    """Reorder the output channels of convolutions and linear layers so that blocks of m neighbours are alike.

    Rows of squared weights (summed over a block's inputs and kernel positions) that correlate most become neighbours,
    best pair first; for m = 4 pairs are paired again, and so on. Everything that sees the channels is permuted in step,
    in the scope: biases, norms, PReLU slopes and depthwise convolutions on the way, the input axes of the layers that
    follow, and the optimizer's accumulators. The Program itself does not change, and computes what it did before up to
    the rounding of sums (only an activation between the two layers, if you fetch it, has its channels in the new
    order). Layers whose outputs meet in an addition (or a product, a maximum, ...) get one order, which keeps more of
    them together and of none less. A layer whose channels reach anything that depends on their order (a group norm, a
    slice, ...) is left alone. Call it once, before the pruner is made. Other Programs on the same scope see the
    permuted weights; they must read them in the same layers.

    Args:
        program: A PIR Program, training or inference, with its weights in the scope. Or an nn.Layer.
        m: Outputs per block, a power of two from 2 to 32.
        n, kernel: inputs of a block, and whether it spans the kernel window, as `Block(m, n, kernel=kernel)` has them,
            which is what it prepares for: n=4, kernel="position" for `Int8Block(m)`.
        scope: scope that holds the weights; default: the global scope.
        place: device; default: the device Paddle is set to.
        select: Which layers. Default: all.
        sparsity: Fraction of the blocks that will fall, in [0, 1); an order is taken only if it keeps more than the
            stored one at it.
        input_spec: InputSpecs of a Layer's inputs, to trace it with, unless a pruner has done that.
        optimizer: optimizer of a Layer that has made steps already: what it keeps of weights is permuted with them.

    Returns:
        A row for each selected conv2d, conv3d or linear layer, in the order of the Program; `str(rows)` is a table.

    Raises:
        ValueError: `m` or `sparsity` outside the above; a variable without a value; a Program with masks; a Layer that
            was not traced.

    Example:
        >>> rows = permute_channels(program, 2)  # doctest: +SKIP
        >>> pruner = UnstructuredPruner(program, ratio=0.75, pattern=Block(2, 1))  # doctest: +SKIP

    Source: Ji et al. 2018, "TETRIS: TilE-matching the TRemendous Irregular Sparsity" (reordering for blocks); Pool and
        Yu 2021, "Channel Permutations for N:M Sparsity". The greedy pairing by correlation is ours.
    """
    if whole("m", m, least=2, most=32, rule=_POWERS) & (m - 1):
        raise ValueError(sentence("m", _POWERS, m))
    block = Block(int(m), n, kernel=kernel)
    number("sparsity", sparsity, least=0, below=1, rule="in [0, 1)", hint="0.75 means 75 %")
    graph: PirGraph
    if isinstance(program, paddle.nn.Layer):
        graph = open_traced(program, input_spec, "permute_channels")
        if optimizer is not None:
            graph.follow(optimizer)
    else:
        graph = open_graph(program, scope, place)
    params = graph.params()
    check_initialized(graph, params)
    if graph.declared_masks(params):
        raise ValueError(
            "`program` must have no masks yet, since blocks that were pruned would be torn apart; call "
            "permute_channels before the pruner is made."
        )
    selected = [verdict.param for verdict in judge(params, select) if verdict.pruned and verdict.param.role in _ROLES]
    check_finite(graph, selected)
    layers = {p.name: p for p in selected if None not in (p.output_axis, p.input_axis)}
    moves = Moves(follow_channels(graph))
    groups: dict[str | tuple[int, ...], list[Param]] = {}
    for param in selected:
        groups.setdefault(moves.units(param.name) or param.name, []).append(param)
    before = _fractions({name: graph.array(name) for name in layers}, layers, block, sparsity)
    after, outcomes = dict(before), {}
    for group in groups.values():
        try:
            (permuted, why), fractions = _permute(moves, group, layers, block, sparsity)
        except Fixed as fixed:
            permuted, why, fractions = False, str(fixed), {}
        after.update(fractions)
        if permuted:  # others as well, which add to a part of their outputs what this group gives
            outcomes.update(dict.fromkeys(fractions, (True, why)))
        for param in group:
            outcomes.setdefault(param.name, (permuted, why))
    return Permutation(
        Permuted(p.name, *outcomes[p.name], before.get(p.name, nan), after.get(p.name, nan)) for p in selected
    )


def _permute(
    moves: Moves, group: Sequence[Param], layers: Mapping[str, Param], block: Block, sparsity: float
) -> tuple[tuple[bool, str], dict[str, float]]:
    """Layers whose outputs are the same channels: whether they were reordered, and why; and what is kept then.

    Raises:
        Fixed: They cannot be.
    """
    graph, trace = moves.trace.graph, moves.trace
    for param in group:
        if param.groups > 1:
            raise Fixed("it is a grouped convolution")
        if param.name not in layers:
            raise Fixed("its output axis is not known")
        if param.name not in trace.layers:
            raise Fixed(trace.refused.get(param.name, f"{param.reader} reads it in a way that is not followed"))
    seen = moves.seen_by(group[0].name)
    touched = [s for s in seen if s.name in layers and s.axis == layers[s.name].output_axis]
    weights = {s.name: graph.array(s.name) for s in touched}
    stored = _fractions(weights, layers, block, sparsity)
    best, order = stored, None
    for tried in _orders([_energy(weights[param.name], param, block) for param in group], block.m):
        found = _fractions(reordered(weights, touched, tried), layers, block, sparsity)
        if all(found[name] >= stored[name] for name in found) and sum(found.values()) > sum(best.values()):
            best, order = found, tried
    if order is None:
        return (False, "no order was found that keeps more"), stored
    reorder(graph, seen, order)
    return (True, f"{len(seen)} variables in step"), best


def _orders(energies: Sequence[np.ndarray], m: int) -> Iterator[np.ndarray]:
    """One that suits all layers of a group, each with the same say; and each layer's own."""
    if len(energies) > 1:
        shares = [energy / max(energy.sum(), np.finfo(float).tiny) for energy in energies]
        yield similar_together(np.concatenate(shares, 1), m)
    for energy in energies:
        yield similar_together(energy, m)


def _fractions(
    weights: Mapping[str, np.ndarray], layers: Mapping[str, Param], block: Block, sparsity: float
) -> dict[str, float]:
    return {name: kept(_energy(weight, layers[name], block), block.m, sparsity) for name, weight in weights.items()}


def kept(energy: np.ndarray, m: int, sparsity: float) -> float:
    """Fraction of the squared magnitude left when round(sparsity * blocks) blocks of m rows x 1 fall by their L2 norm.

    Args:
        energy: Squared weights, [outputs, inputs]. The last m rows may be fewer.
    """
    blocks = np.add.reduceat(energy, np.arange(0, len(energy), m)).ravel()
    fallen = round(sparsity * blocks.size)
    total = blocks.sum()
    if total == 0 or fallen == 0:
        return 1.0
    return float(1 - np.partition(blocks, fallen - 1)[:fallen].sum() / total)


def similar_together(energy: np.ndarray, m: int) -> np.ndarray:
    """An order of the rows in which every m neighbours are similar; what is left over comes last.

    Args:
        energy: Squared weights, [outputs, inputs].
        m: a power of two.

    Returns:
        Row i of the new order is row order[i] of the old one, int64 [outputs].

    Example:
        >>> similar_together(np.array([[9.0, 0.0], [0.0, 5.0], [4.0, 0.0], [0.0, 1.0]]), 2).tolist()
        [0, 2, 1, 3]
    """
    groups = np.arange(len(energy))[:, None]
    alone: list[np.ndarray] = []
    while groups.shape[1] < m:
        pairs, left = _pair(np.stack([energy[column] for column in groups.T]).sum(0))
        alone = [*groups[left], *alone]
        groups = groups[pairs].reshape(len(pairs), 2 * groups.shape[1])
    return np.concatenate([groups.ravel(), *alone])


def _pair(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Match rows by their correlation, best pair first: pairs [n // 2, 2], and the row left over, if any.

    Two rows that are each other's best are what the best-first rule takes sooner or later, so that all such pairs are
    taken at once. Equal correlations go to the lower row.
    """
    centred = rows - rows.mean(1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)  # constant rows: 0
    similarity = unit @ unit.T
    similarity = np.minimum(similarity, similarity.T)  # exactly symmetric, or no two might be each other's best
    np.fill_diagonal(similarity, -np.inf)
    free, pairs = np.arange(len(rows)), []
    while len(free) > 1:
        best = similarity.argmax(1)
        mutual = best[best] == np.arange(len(free))
        first = np.flatnonzero(mutual & (best > np.arange(len(free))))
        pairs.append(np.stack([free[first], free[best[first]]], 1))
        rest = np.flatnonzero(~mutual)
        free, similarity = free[rest], similarity[np.ix_(rest, rest)]
    found = np.concatenate([np.empty((0, 2), np.int64), *pairs])
    return found[np.argsort(found[:, 0])], free


def _energy(weight: np.ndarray, param: Param, block: Block) -> np.ndarray:
    """Squared weights summed over the inputs and kernel positions of a block, float64 [outputs, blocks of one]."""
    assert param.output_axis is not None and param.input_axis is not None  # as every layer that is permuted
    weight = np.moveaxis(weight.astype(np.float64), (param.output_axis, param.input_axis), (0, 1))
    energy = np.square(weight).reshape(*weight.shape[:2], -1)  # [outputs, inputs, positions]
    energy = np.add.reduceat(energy, np.arange(0, energy.shape[1], block.n), axis=1)
    return np.asarray(energy.sum(-1) if block.kernel == "whole" else energy.reshape(len(energy), -1))
