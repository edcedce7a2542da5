"""Reorder output channels before pruning in blocks, so that neighbours are alike and blocks keep more magnitude."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import number, sentence, whole
from ..graph import Param, PirGraph, open_graph
from ..reporting.report import check_initialized
from ..reporting.table import aligned
from ..selection import Select, all_weights, judge
from .followers import Channels, reorder
from .ops import Fixed


@dataclass(frozen=True)
class Permuted:
    """What became of one layer.

    Attributes:
        param: Name of its weight.
        permuted: Whether its output channels were reordered.
        reason: Why, or why not.
        kept_before, kept_after: Fraction of its squared magnitude that survives when `sparsity` of its blocks fall.
    """

    param: str
    permuted: bool
    reason: str
    kept_before: float
    kept_after: float


class Permutation(tuple):
    """A `Permuted` for each layer; prints as a table."""

    def __str__(self) -> str:
        rows = [
            (row.param, f"{row.kept_before:.4f}", f"{row.kept_after:.4f}", "yes" if row.permuted else "no", row.reason)
            for row in self
        ]
        return aligned(("param", "kept before", "kept after", "permuted", "why"), rows, numbers=(1, 2))


def permute_channels(
    program: Any, m: int, *, scope: Any = None, place: Any = None, select: Select = all_weights, sparsity: float = 0.75
) -> Permutation:
    """Reorder the output channels of conv2d and linear layers so that blocks of m neighbours are alike.

    Rows of squared weights (summed over the kernel window) that correlate most become neighbours, best pair first; for
    m = 4 pairs are paired again. Everything that sees the channels is permuted in step, in the scope: biases, norms,
    PReLU slopes and depthwise convolutions on the way, the input axes of the layers that follow, and the optimizer's
    accumulators. The Program itself does not change, and computes what it did before up to the rounding of sums (only
    an activation between the two layers, if you fetch it, has its channels in the new order). A layer whose channels
    reach anything else, a residual addition for example, is left alone.

    Call it once, before the pruner is made. Other Programs on the same scope see the permuted weights; they must read
    them in the same layers.

    Args:
        program: A PIR Program, training or inference, with its weights in the scope.
        m: Outputs per block, 2 or 4: `Block(m, 1)` is what it prepares for.
        scope: Default: the global scope.
        place: Default: the device Paddle is set to.
        select: Which layers. Default: all.
        sparsity: Of the blocks, in [0, 1); an order is taken only if it keeps more than the stored one at it.

    Returns:
        A row for each selected conv2d or linear layer, in the order of the Program; `str(rows)` is a table.

    Raises:
        ValueError: `m` or `sparsity` outside the above; a variable without a value; a Program with masks.

    Example:
        >>> rows = permute_channels(program, 2)  # doctest: +SKIP
        >>> pruner = UnstructuredPruner(program, ratio=0.75, pattern=Block(2, 1))  # doctest: +SKIP

    Source: Ji et al. 2018, "TETRIS: TilE-matching the TRemendous Irregular Sparsity" (reordering for blocks); Pool and
        Yu 2021, "Channel Permutations for N:M Sparsity". The greedy pairing by correlation is ours.
    """
    if whole("m", m, least=2, most=4, rule="2 or 4") == 3:
        raise ValueError(sentence("m", "2 or 4", m))
    number("sparsity", sparsity, least=0, below=1, rule="in [0, 1)", hint="0.75 means 75 %")
    graph = open_graph(program, scope, place)
    params = graph.params()
    check_initialized(graph, params)
    if graph.declared_masks(params):
        raise ValueError(
            "`program` must have no masks yet, since blocks that were pruned would be torn apart; call "
            "permute_channels before the pruner is made."
        )
    channels = Channels(graph)
    return Permutation(
        _permute(graph, channels, verdict.param, int(m), sparsity)
        for verdict in judge(params, select)
        if verdict.pruned and verdict.param.role in ("conv2d", "linear")
    )


def _permute(graph: PirGraph, channels: Channels, param: Param, m: int, sparsity: float) -> Permuted:
    if param.output_axis is None or param.input_axis is None:
        return Permuted(param.name, False, "its output axis is not known", float("nan"), float("nan"))
    energy = _energy(graph.array(param.name), param)
    before = kept(energy, m, sparsity)
    try:
        seen = channels.seen_by(param)
    except Fixed as fixed:
        return Permuted(param.name, False, str(fixed), before, before)
    order = similar_together(energy, m)
    after = kept(energy[order], m, sparsity)
    if not after > before:
        return Permuted(param.name, False, "no order was found that keeps more", before, before)
    reorder(graph, seen, order)
    return Permuted(param.name, True, f"{len(seen)} variables in step", before, after)


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
        m: 2 or 4.

    Returns:
        Row i of the new order is row order[i] of the old one, int64 [outputs].

    Example:
        >>> similar_together(np.array([[9.0, 0.0], [0.0, 5.0], [4.0, 0.0], [0.0, 1.0]]), 2).tolist()
        [0, 2, 1, 3]
    """
    groups, alone = np.arange(len(energy))[:, None], []
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


def _energy(weight: np.ndarray, param: Param) -> np.ndarray:
    """Squared weights summed over the kernel window, float64 [outputs, inputs]."""
    weight = np.moveaxis(weight.astype(np.float64), (param.output_axis, param.input_axis), (0, 1))
    return np.square(weight).reshape(*weight.shape[:2], -1).sum(-1)
