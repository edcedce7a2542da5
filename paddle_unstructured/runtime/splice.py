# SPDX-License-Identifier: Apache-2.0
"""A saved Program some of whose ops give way to operators of ours."""

from __future__ import annotations

import heapq
import itertools
import logging
from dataclasses import dataclass
from typing import Any, Iterator, Sequence

import numpy as np

from ..formats import pdiparams
from ..formats.pir_json import norms_of, ops_of, param_name, ranks_of, read_program, reads_of
from ..inference import OVERWRITING_PASS, WITHOUT, check_opens, overwrites, without_onednn
from ..saved_model import drafts
from .op_graph import OpGraph
from .reader import Refusal
from .session import loses_layout
from .write_program import Op, listed, op_of, operator, parameters, value, write_files

_LOG = logging.getLogger(__name__)
_IN_PLACE_NORMS = {"1.batch_norm_", "1.sync_batch_norm_"}  # they change running statistics in training only


@dataclass(frozen=True)
class Piece:
    """An operator of ours that stands in for some ops.

    Attributes:
        ops: places of the ops in the block.
        inputs: numbers of the values that it reads.
        outputs: numbers of the values that it makes, which keep these numbers.
        name: the operator, as it is registered.
        plan: what it runs.
        arrays: its parameters.
    """

    ops: frozenset[int]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    name: str
    plan: str
    arrays: Sequence[np.ndarray]


def write_parts(dense: str, pieces: Sequence[Piece], path: str) -> None:
    """Write a Program some of whose ops have given way to operators of ours.

    Ops are put in an order in which each finds its operands; what nobody reads any more is left out. What an operator
    reads of another op passes through an `assign`, which oneDNN does not have: Paddle undoes the blocked layout for it.

    Args:
        dense: prefix of the Program's two files.
        pieces: operators, whose ops are disjoint and convex.
        path: prefix of the files that are written.

    Raises:
        Refusal: An op that changes a value in place would run before one that reads it.
        ValueError: `paddle.inference` cannot open the model; nothing was written.
    """
    content = read_program(dense + ".json")
    named = [
        {f"sparse_part{i}.p_{j:04d}": array for j, array in enumerate(piece.arrays)} for i, piece in enumerate(pieces)
    ]
    kept = _spliced(content, pieces, named)
    stored = pdiparams.scan(dense + ".pdiparams", dense + ".json")
    rest = {one.name: (one.dtype, pdiparams.read(dense + ".pdiparams", one)) for one in stored if one.name in kept}
    own = {name: (array.dtype.name, array) for params in named for name, array in params.items()}
    with drafts(path) as draft:
        write_files(draft, content, {**rest, **own})
        check_opens(draft + ".json", draft + ".pdiparams")
    reads = reads_of(content)
    loops = loses_layout(content)
    failing = without_onednn((kind for kind, _ in reads), ranks_of(content), norms_of(content))
    if failing:
        _LOG.warning(WITHOUT, path, f"fails on {' and '.join(failing)}", "disable_mkldnn()")
    elif loops:
        _LOG.warning(WITHOUT, path, f"computes {loops[0]} wrongly", "disable_mkldnn()")
    elif overwrites(reads):
        _LOG.warning(WITHOUT, path, "writes over numbers that are read again", f"delete_pass({OVERWRITING_PASS!r})")


def _spliced(content: dict[str, Any], pieces: Sequence[Piece], named: Sequence[dict[str, np.ndarray]]) -> set[str]:
    """Put the operators in; returns the names of the parameters that Paddle's ops still read."""
    ops = ops_of(content)
    types = {one["%"]: one["TT"] for op in ops for one in ([op["O"]] if isinstance(op["O"], dict) else op["O"])}
    feeds = {op["O"][0]["%"] for op in ops if op["#"].endswith(".data")}
    numbers = itertools.count(max(itertools.chain([0], *OpGraph.of(content).makes, *_inner_values(ops))) + 1)
    groups: list[list[Op]] = [[op] for op in ops]
    gone = {at for piece in pieces for at in piece.ops}
    kept = [group for at, group in enumerate(groups) if at not in gone]
    ours = [_operator(piece, params, numbers, types, feeds) for piece, params in zip(pieces, named)]
    places = [at for at in range(len(ops)) if at not in gone] + [max(piece.ops) for piece in pieces]
    order = _in_order(kept + ours, places)
    ops[:] = [op for group in order for op in group]
    return {name for op in ops if (name := param_name(op)) is not None}


def _operator(
    piece: Piece, params: dict[str, np.ndarray], numbers: Iterator[int], types: dict[int, Any], feeds: set[int]
) -> list[Op]:
    given = parameters(numbers, params)
    inputs, plain = list[Op](), list[Op]()
    for number in piece.inputs:
        one: Op = {"%": number, "TT": types[number]}
        if number not in feeds:
            plain.append(op_of("1.assign", [], [one], [value(numbers, one["TT"])]))
            one = plain[-1]["O"][0]
        inputs.append(one)
    lists = [listed(numbers, inputs), listed(numbers, [op["O"] for op in given])]
    outputs = [{"%": number, "TT": types[number]} for number in piece.outputs]
    return [*given, *plain, *lists, operator(piece.name, piece.plan, [one["O"][0] for one in lists], outputs)]


def _in_order(groups: list[list[Op]], places: list[int]) -> list[list[Op]]:
    """The groups that something reads, each behind what it reads from; near their places otherwise."""
    graph = OpGraph.of({"program": {"regions": [{"blocks": [{"ops": [_joined(group) for group in groups]}]}]}})
    maker = graph.maker
    before = [{maker[number] for number in read if number in maker} - {i} for i, read in enumerate(graph.reads)]
    for i, group in enumerate(groups):
        kind = group[-1]["#"]
        if kind.endswith("_") and kind not in _IN_PLACE_NORMS and len(group) == 1 and graph.reads[i]:
            changed = graph.reads[i][0]
            before[i] |= {j for j, read in enumerate(graph.reads) if changed in read and places[j] < places[i]}
    needed, pending = set[int](), [i for i, group in enumerate(groups) if group[-1]["#"].endswith((".fetch", ".data"))]
    while pending:
        one = pending.pop()
        if one not in needed:
            needed.add(one)
            pending.extend(before[one])
    waiting = {i: len(before[i]) for i in needed}
    readers: dict[int, list[int]] = {}
    for i in needed:
        for source in before[i]:
            readers.setdefault(source, []).append(i)
    ready, order = [(places[i], i) for i in needed if not waiting[i]], list[list[Op]]()
    heapq.heapify(ready)
    while ready:
        _, one = heapq.heappop(ready)
        order.append(groups[one])
        for reader in readers.get(one, ()):
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, (places[reader], reader))
    if len(order) < len(needed):
        raise Refusal("ops that change values in place leave no order in which parts could run")
    return order


def _joined(group: list[Op]) -> Op:
    """The ops of a group as one."""
    if len(group) == 1:
        return group[0]
    results = [one for op in group for one in ([op["O"]] if isinstance(op["O"], dict) else op["O"])]
    return {"#": group[-1]["#"], "I": [one for op in group for one in op.get("I", [])], "O": results}


def _inner_values(ops: list[Op]) -> Iterator[list[int]]:
    """The numbers of the values that inner blocks make."""
    for op in ops:
        for region in op.get("regions", []):
            for block in region.get("blocks", []):
                for inner in block["ops"]:
                    results = inner["O"]
                    yield [one["%"] for one in ([results] if isinstance(results, dict) else results)]
                yield from _inner_values(block["ops"])
