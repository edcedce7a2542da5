# SPDX-License-Identifier: Apache-2.0
"""Rows in an order in which neighbours are alike."""

from __future__ import annotations

import numpy as np
import pytest

from paddle_unstructured.channels.permute import kept, similar_together


def test_pairs_of_equal_direction_become_neighbours():
    rows = np.array([[9.0, 0, 0], [0, 5, 0], [0, 0, 7], [4, 0, 0], [0, 0, 1], [0, 1, 0], [3, 3, 3]])
    assert similar_together(rows, 2).tolist() == [0, 3, 1, 5, 2, 4, 6]


@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 33])
def test_every_order_is_a_permutation(m, count):
    rows = np.random.default_rng(count).normal(size=(count, 5)) ** 2
    assert sorted(similar_together(rows, m)) == list(range(count))
    assert sorted(similar_together(rows * 0, m)) == list(range(count))


def test_pairs_are_those_of_a_slow_greedy_loop():
    rows = np.random.default_rng(0).normal(size=(24, 9)) ** 2
    likeness, pairs = np.corrcoef(rows), []
    for i, j in sorted(((a, b) for a in range(24) for b in range(a)), key=lambda pair: -likeness[pair]):
        if not {i, j} & {k for pair in pairs for k in pair}:
            pairs.append((j, i))
    assert similar_together(rows, 2).reshape(-1, 2).tolist() == sorted(map(list, pairs))


def test_fours_are_pairs_of_pairs_by_the_sums_of_their_rows():
    rows = np.random.default_rng(1).normal(size=(24, 9)) ** 2
    pairs = similar_together(rows, 2).reshape(-1, 2)
    fours = pairs[similar_together(rows[pairs].sum(1), 2)]
    assert similar_together(rows, 4).tolist() == fours.ravel().tolist()


def test_kept_counts_blocks_of_m_rows():
    energy = np.array([[1.0, 8.0], [2.0, 0.0], [4.0, 1.0]])  # blocks of 2: 3 and 8, then the short 4 and 1
    assert kept(energy, 2, 0.5) == (8 + 4) / 16 and kept(energy, 2, 0.2) == 15 / 16
    assert kept(energy, 2, 0.0) == 1 == kept(energy * 0, 2, 0.5)
