# SPDX-License-Identifier: Apache-2.0
"""Which op of a Program reads what another makes, and which of them can be one operator."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import AbstractSet, Any, Iterable, Iterator, Mapping, Sequence

from ..formats.pir_json import ops_of


@dataclass(frozen=True)
class OpGraph:
    """The ops of a Program's outermost block, by number, each behind those that it reads from.

    Attributes:
        reads: values that each op reads, those of its inner blocks included.
        makes: values that each op makes.
    """

    reads: Sequence[Sequence[int]]
    makes: Sequence[Sequence[int]]

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> OpGraph:
        """The graph of a Program's content, as `read_program` gives it; values are numbered as there."""
        ops = ops_of(dict(content))
        return cls([list(_read(op)) for op in ops], [list(_made(op)) for op in ops])

    @cached_property
    def maker(self) -> dict[int, int]:
        """Value -> the op that makes it."""
        return {value: op for op, made in enumerate(self.makes) for value in made}

    def sources(self, transparent: AbstractSet[int]) -> list[set[int]]:
        """For each op those that it reads from, seen through the transparent ones."""
        maker, found = self.maker, list[set[int]]()
        for read in self.reads:
            direct = {maker[value] for value in read if value in maker}
            behind = (found[op] for op in direct & transparent)
            found.append((direct - transparent).union(*behind))
        return found

    def behind(self, wanted: Iterable[int], among: AbstractSet[int]) -> set[int]:
        """The ops among some from which the wanted values are made, directly or through others of them."""
        maker, found, pending = self.maker, set[int](), list(wanted)
        while pending:
            op = maker.get(pending.pop(), -1)
            if op in among and op not in found:
                found.add(op)
                pending.extend(self.reads[op])
        return found


def _read(op: Mapping[str, Any]) -> Iterator[int]:
    for operand in op.get("I", []):
        if operand["%"]:  # 0: an optional operand that is not there
            yield operand["%"]
    for region in op.get("regions", []):
        for block in region.get("blocks", []):
            for inner in block["ops"]:
                yield from _read(inner)


def _made(op: Mapping[str, Any]) -> Iterator[int]:
    results = op["O"]
    for result in [results] if isinstance(results, dict) else results:
        yield result["%"]


def convex_parts(graph: OpGraph, ours: AbstractSet[int], transparent: AbstractSet[int]) -> list[set[int]]:
    """Join ops into parts, as large as may be, that no path leaves and enters again.

    The level of an op is how often the paths that lead to it change from ours to others and back: ops of one level that
    are joined by an edge are convex together. Parts of different levels are joined where no path between them takes
    another way.

    Args:
        graph: all ops.
        ours: those that may be in a part.
        transparent: those that belong to whoever reads them, constants say.

    Returns:
        the parts, in the order of their first ops.
    """
    sources, count = graph.sources(transparent), len(graph.reads)
    level = [0] * count
    group = list(range(count))

    def root(op: int) -> int:
        while group[op] != op:
            group[op] = group[group[op]]
            op = group[op]
        return op

    for op in range(count):
        if op in ours:
            level[op] = max([0, *(level[source] + (source not in ours) for source in sources[op])])
            for source in sources[op]:
                if source in ours and level[source] == level[op]:
                    group[root(op)] = root(source)
        else:
            level[op] = max([-1, *(level[source] for source in sources[op])])
    _join_levels(sources, ours, transparent, group, root)
    parts: dict[int, set[int]] = {}
    for op in sorted(ours):
        parts.setdefault(root(op), set()).add(op)
    return list(parts.values())


def _join_levels(
    sources: Sequence[AbstractSet[int]],
    ours: AbstractSet[int],
    transparent: AbstractSet[int],
    group: list[int],
    root: Any,
) -> None:
    """Join two parts that an edge connects, while there are two between which no longer path leads."""
    joined = True
    while joined:
        joined = False
        after: dict[int, set[int]] = {}
        for op, before in enumerate(sources):
            for source in before if op not in transparent else ():
                if root(source) != root(op):
                    after.setdefault(root(source), set()).add(root(op))
        edges = [(a, b) for a in after for b in after[a] if a in ours and b in ours]
        for a, b in edges:
            if not _leads(after, after[a] - {b}, b):
                group[b] = a
                joined = True
                break


def _leads(after: Mapping[int, AbstractSet[int]], starts: Iterable[int], end: int) -> bool:
    """Whether a path leads from one of the starts to the end."""
    seen, pending = set[int](), list(starts)
    while pending:
        one = pending.pop()
        if one == end:
            return True
        if one not in seen:
            seen.add(one)
            pending.extend(after.get(one, ()))
    return False
