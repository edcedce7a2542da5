# SPDX-License-Identifier: Apache-2.0
"""The search for a choice: against all choices there are, on errors that no sum of single layers explains."""

from itertools import product

import numpy as np
import pytest

from paddle_unstructured.budget.search import SINGLE, Layers, fitted, search


def layers(count, seed=0, levels=5):
    random = np.random.default_rng(seed)
    zeros = [tuple(range(0, 10 * levels, 10))] * count
    times = [np.sort(random.uniform(1, 10, levels))[::-1].copy() for _ in range(count)]
    errors = [np.r_[0.0, np.sort(random.uniform(0.1, 10, levels - 1))] for _ in range(count)]
    return Layers([f"w{i}" for i in range(count)], zeros, times, errors)


def half(known):
    return sum(float(time.mean()) for time in known.times)


def seconds(known, choice):
    return sum(np.interp(choice[n], z, t) for n, z, t in zip(known.names, known.zeros, known.times))


def test_without_trials_errors_of_single_layers_decide_and_nothing_is_tried():
    known = layers(3)
    found = search(known, half(known), lambda choice: 1 / 0, starts={}, trials=0, seed=0)
    assert (found.origin, found.error) == (SINGLE, None)
    assert found.zeros == known.within(half(known), np.zeros(3))


def test_a_start_that_errs_least_is_the_answer():
    known, best = layers(3), {"w0": 7, "w1": 7, "w2": 7}  # between levels
    found = search(
        known, half(known), lambda choice: 0.1 if choice == best else 5.0, starts={"LAMP": best}, trials=3, seed=0
    )
    assert (found.zeros, found.origin, found.error) == (best, "LAMP", 0.1)


@pytest.mark.parametrize("seed", range(4))
def test_what_later_layers_repair_is_found(seed):
    """Errors of the first layers count for little, which errors of single layers do not know."""
    known = layers(4, seed)
    counts, most = np.array([0.05, 0.1, 1.0, 2.0]), half(known)

    def true(choice):
        return float(counts @ known.single(choice)) * 0.3

    found = search(known, most, true, starts={}, trials=16, seed=seed)
    every = [dict(zip(known.names, zeros)) for zeros in product(*known.zeros)]
    least = min(true(choice) for choice in every if seconds(known, choice) <= most)
    assert seconds(known, found.zeros) <= most * (1 + 1e-9)
    assert found.error == true(found.zeros) <= min(1.05 * least + 1e-9, true(known.within(most, np.zeros(4))))


def test_no_choice_is_tried_twice():
    known, tried = layers(2, levels=2), []

    def note(choice):
        tried.append(tuple(choice.values()))
        return 1.0

    search(known, half(known), note, starts={}, trials=20, seed=0)
    assert len(tried) == len({*tried}) <= 4


def test_the_same_seed_proposes_the_same():
    known, runs = layers(5), []
    for _ in range(2):
        runs.append([])
        search(
            known,
            half(known),
            lambda c: runs[-1].append(c) or float(known.single(c).max()),
            starts={},
            trials=5,
            seed=3,
        )
    assert runs[0] == runs[1]


def test_coefficients_that_made_the_errors_are_found():
    """Of exact sums, many more than layers: all that is left is what the ridge takes."""
    random = np.random.default_rng(0)
    singles, wanted = random.uniform(0.1, 1.0, (200, 4)), np.log([0.5, 1.0, 1.0, 2.0])
    found = fitted(singles, 7.0 * singles @ np.exp(wanted))
    np.testing.assert_allclose(found - found.mean(), wanted - wanted.mean(), atol=0.1)


def test_one_try_moves_no_coefficient_by_much():
    assert np.abs(fitted(np.array([[0.2, 0.1]]), np.array([3.0]))).max() < 0.02
