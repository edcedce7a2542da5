# SPDX-License-Identifier: Apache-2.0
"""Parts of a graph that no path leaves and enters again: drawn by hand, and against a slow search."""

from __future__ import annotations

import numpy as np
import pytest

from paddle_unstructured.runtime.op_graph import OpGraph, convex_parts


def graph(*reads):
    """Op i makes value i and reads the values of the ops that are named."""
    return OpGraph([list(read) for read in reads], [[i] for i in range(len(reads))])


def parts(of, ours, transparent=()):
    return [sorted(part) for part in convex_parts(of, set(ours), set(transparent))]


def test_an_operand_that_is_not_there_is_no_value():
    op = {"I": [{"%": 2}, {"%": 0}], "O": [{"%": 3}]}
    content = {"program": {"regions": [{"blocks": [{"ops": [op]}]}]}}
    assert OpGraph.of(content).reads == [[2]]


def test_a_chain_is_one_part():
    assert parts(graph([], [0], [1], [2]), [0, 1, 2, 3]) == [[0, 1, 2, 3]]


def test_an_op_in_the_middle_costs_only_itself():
    assert parts(graph([], [0], [1], [2], [3]), [0, 1, 3, 4]) == [[0, 1], [3, 4]]


def test_a_way_around_an_op_stays_within_a_part():
    """0 -> 1 -> 2, and 0 -> x -> 2: 2 cannot run in one operator with 0."""
    assert parts(graph([], [0], [0], [1, 2]), [0, 1, 3]) == [[0, 1], [3]]


def test_an_op_that_reads_nothing_of_ours_divides_nothing():
    """x -> 2 <- 1 <- 0: x can run first."""
    assert parts(graph([], [], [1], [0, 2]), [1, 2, 3]) == [[1, 2, 3]]


def test_parts_of_different_levels_join_where_no_other_way_leads():
    """0 -> x -> 2; 3 -> 4 <- 2: 3 is of a lower level than 4, and nothing leads from it through x."""
    assert parts(graph([], [0], [1], [], [2, 3]), [0, 2, 3, 4]) == [[0], [2, 3, 4]]


def test_constants_belong_to_whom_they_serve():
    assert parts(graph([], [], [0, 1], [1, 2]), [2, 3], [1]) == [[2, 3]]


def leaves_and_returns(of, part):
    """Whether a path leads from the part to an op outside, and on to the part; by trying all."""
    sources = of.sources(set())
    outside = set[int]()
    for op, read in enumerate(sources):
        if op not in part and read & (part | outside):
            outside.add(op)
    return any(sources[op] & outside for op in part)


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs_have_convex_parts_that_can_run_in_turn(seed):
    random = np.random.default_rng(seed)
    count = int(random.integers(2, 40))
    of = graph(*[random.choice(op, min(op, int(random.integers(0, 4))), replace=False).tolist() for op in range(count)])
    ours = {op for op in range(count) if random.random() < 0.8}
    found = convex_parts(of, ours, set())
    assert sorted(op for part in found for op in part) == sorted(ours)
    assert not any(leaves_and_returns(of, part) for part in found)
    group = {op: i for i, part in enumerate(found) for op in part}
    after = {(group.get(source, -1 - source), group.get(op, -1 - op)) for op in range(count) for source in of.reads[op]}
    left = {end for edge in after for end in edge}
    after = {(a, b) for a, b in after if a != b}
    while left:  # all parts and other ops in some order
        free = {one for one in left if not any(a in left and b == one for a, b in after)}
        assert free
        left -= free
