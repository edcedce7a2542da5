# SPDX-License-Identifier: Apache-2.0
"""The knapsack: hand-written cases, then a sweep against all combinations."""

from itertools import product

import numpy as np
import pytest

from paddle_unstructured.budget.knapsack import UNITS, choose, within


def arrays(rows, dtype):
    return [np.array(row, dtype) for row in rows]


def choice(times, errors, most):
    return choose(arrays(times, "int64"), arrays(errors, "float64"), most)


def brute_force(times, errors, most):
    """(least error, least time for it) over all combinations; None if none fits."""
    found = [
        (sum(e[k] for e, k in zip(errors, ks)), sum(t[k] for t, k in zip(times, ks)))
        for ks in product(*[range(len(t)) for t in times])
    ]
    fitting = [pair for pair in found if pair[1] <= most]
    return min(fitting) if fitting else None


def test_with_time_for_all_nothing_is_pruned():
    assert choice([[4, 2, 1], [6, 3, 1]], [[0, 1, 5], [0, 2, 9]], 10) == [0, 0]


def test_the_cheaper_of_two_layers_gives_way():
    """8 of 10 units: the first layer gains 2 for an error of 1, the second 3 for one of 2."""
    assert choice([[4, 2, 1], [6, 3, 1]], [[0, 1, 5], [0, 2, 9]], 8) == [1, 0]


def test_two_layers_share_where_one_alone_would_lose_more():
    assert choice([[4, 2, 1], [6, 3, 1]], [[0, 1, 5], [0, 2, 9]], 5) == [1, 1]


def test_a_greedy_choice_by_error_for_time_would_be_wrong_here():
    """Greedy takes the first layer's cheap unit and then needs the second's dear one as well: 1 + 10 against 8."""
    assert choice([[5, 4], [5, 3]], [[0, 1], [0, 8]], 8) == [0, 1]


def test_the_fastest_of_every_layer_is_found_at_the_very_edge():
    assert choice([[4, 2, 1], [6, 3, 1]], [[0, 1, 5], [0, 2, 9]], 2) == [2, 2]


def test_below_the_fastest_there_is_none():
    assert choice([[4, 2, 1], [6, 3, 1]], [[0, 1, 5], [0, 2, 9]], 1) is None
    assert choice([[1]], [[0]], -1) is None


def test_of_equal_errors_the_faster_wins():
    assert choice([[4, 2]], [[0, 0]], 4) == [1]


def test_no_layers_take_no_time():
    assert choose([], [], 0) == []


@pytest.mark.parametrize("seed", range(60))
def test_as_all_combinations_say(seed):
    random = np.random.default_rng(seed)
    layers = random.integers(1, 6)
    sizes = random.integers(1, 5, layers)
    times = [random.integers(0, 9, size).tolist() for size in sizes]
    errors = [random.integers(0, 9, size).astype(float).tolist() for size in sizes]
    most = int(random.integers(0, 30))
    found, best = choice(times, errors, most), brute_force(times, errors, most)
    if best is None:
        assert found is None
    else:
        assert (sum(e[k] for e, k in zip(errors, found)), sum(t[k] for t, k in zip(times, found))) == best


@pytest.mark.parametrize("seed", range(20))
def test_seconds_are_met_and_cost_no_more_than_a_hundredth_of_a_percent_each(seed):
    random = np.random.default_rng(seed)
    times = [np.sort(random.uniform(1e-6, 1e-3, 5))[::-1] for _ in range(5)]
    errors = [np.concatenate([[0.0], np.sort(random.uniform(0, 1, 4))]) for _ in range(5)]
    most = float(random.uniform(0.4, 1.0) * sum(t[0] for t in times))
    found = within(times, errors, most)
    best = brute_force(times, errors, most * (1 - 5 / UNITS))
    assert sum(t[k] for t, k in zip(times, found)) <= most
    assert sum(e[k] for e, k in zip(errors, found)) <= best[0] + 1e-12


def test_what_fits_only_without_rounding_is_the_fastest():
    times = [np.array([2.0, 1.0 / 3]), np.array([2.0, 1.0 / 7])]
    assert within(times, [np.array([0.0, 1.0])] * 2, 1.0 / 3 + 1.0 / 7) == [1, 1]


def test_no_time_at_all_is_refused():
    assert within([np.array([1.0])], [np.array([0.0])], 0.0) is None
