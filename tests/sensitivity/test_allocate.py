# SPDX-License-Identifier: Apache-2.0
"""From a table to a sparsity for every layer."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from sensitivity_tables import table_of

from paddle_unstructured.sensitivity import allocate_by_sensitivity

on_programs = pytest.mark.usefixtures("static")


# -- allocating


STEEP_AND_FLAT = {"flat": {5: 0.1, 9: 0.2}, "steep": {5: 0.2, 9: 0.8}}


@pytest.mark.parametrize(
    "drop, flat, steep", [(0.0, 0, 0), (0.04, 2, 1), (0.1, 5, 2), (0.2, 9, 5), (0.5, 9, 7), (0.8, 9, 9), (3.0, 9, 9)]
)
def test_a_drop_allows_what_the_curve_reaches_rounded_down(drop: float, flat: int, steep: int):
    assert allocate_by_sensitivity(table_of(STEEP_AND_FLAT), drop=drop) == {"flat": flat / 10, "steep": steep / 10}


@pytest.mark.parametrize(
    "target, flat, steep",
    [
        (0.0, 0, 0),
        (0.15, 2, 1),  # at a drop of 0.04
        (0.4, 5, 3),  # at 0.1 + 1 / 130: 5 + 40 / 130 and 2.5 + 25 / 130, 5.31 and 2.69, make 8
        (0.7, 9, 5),  # at 0.2
        (0.8, 9, 7),  # at 0.5: flat is at its highest measurement
        (0.9, 9, 9),
    ],
)
def test_a_target_is_met_at_a_common_drop(target: float, flat: int, steep: int):
    assert allocate_by_sensitivity(table_of(STEEP_AND_FLAT), target) == {"flat": flat / 10, "steep": steep / 10}


def test_a_measurement_that_gains_is_free_and_a_later_dip_is_not():
    table = table_of({"a": {3: -0.5, 5: 0.25, 7: 0.125, 9: 0.375}})
    assert [allocate_by_sensitivity(table, drop=d)["a"] for d in (0.0, 0.125, 0.25, 0.375)] == [0.3, 0.4, 0.7, 0.9]


def test_layers_that_cost_nothing_go_through_their_range_at_the_same_pace():
    table = table_of({"long": {80: 0.0, 90: 1.0}, "short": {40: 0.0, 90: 1.0}}, size=100)
    assert allocate_by_sensitivity(table, 0.3) == {"long": 0.4, "short": 0.2}
    assert allocate_by_sensitivity(table, 0.6) == {"long": 0.8, "short": 0.4}


def test_a_layer_counts_by_its_weights():
    table = table_of({"big": {900: 0.9}, "small": {9: 0.1}}, size={"big": 1000, "small": 10})
    assert allocate_by_sensitivity(table, 0.1) == {"big": 0.093, "small": 0.8}  # 92.66 + 8.34 of 1010


def test_equal_remainders_are_shared_out_in_the_order_of_the_table():
    table = table_of({name: {9: 0.9} for name in "dacb"})
    assert allocate_by_sensitivity(table, 0.05) == {"d": 0.1, "a": 0.1, "c": 0.0, "b": 0.0}


def test_a_target_within_a_drop_is_met_or_refused():
    table = table_of(STEEP_AND_FLAT)
    assert allocate_by_sensitivity(table, 0.7, 0.2) == {"flat": 0.9, "steep": 0.5}
    with pytest.raises(ValueError, match="`target` 0.75 means 15 of 20 weights, but no more than 14 can fall"):
        allocate_by_sensitivity(table, 0.75, 0.2)


def test_nothing_is_extrapolated():
    with pytest.raises(ValueError, match="19 of 20 weights, but no more than 18 can fall: .* that was measured"):
        allocate_by_sensitivity(table_of(STEEP_AND_FLAT), 0.95)


THREE = {"a": {6: 0.1, 9: 0.4}, "b": {6: 0.2, 9: 0.5}, "c": {6: 0.6, 9: 0.9}}


@pytest.mark.parametrize("drop, expected", [(0.05, (0, 0, 0)), (0.1, (6, 0, 0)), (0.2, (7, 6, 0)), (0.6, (9, 9, 6))])
def test_within_a_drop_a_layer_is_sparse_enough_or_dense(drop: float, expected: tuple[int, ...]):
    sparsities = allocate_by_sensitivity(table_of(THREE), drop=drop, at_least=0.6)
    assert tuple(sparsities.values()) == tuple(count / 10 for count in expected)


@pytest.mark.parametrize(
    "weights, expected",
    [
        (0, (0, 0, 0)),
        (6, (6, 0, 0)),
        (8, (8, 0, 0)),
        (12, (6, 6, 0)),
        (14, (8, 6, 0)),
        (15, (8, 7, 0)),
        (18, (9, 9, 0)),  # three at 6 would cost 0.6, two at 9 cost 0.5
        (19, (7, 6, 6)),
        (27, (9, 9, 9)),
    ],
)
def test_a_target_is_met_by_layers_that_are_sparse_enough_or_dense(weights: int, expected: tuple[int, ...]):
    sparsities = allocate_by_sensitivity(table_of(THREE), weights / 30, at_least=0.6)
    assert tuple(sparsities.values()) == tuple(count / 10 for count in expected)


def test_a_layer_held_at_the_least_sparsity_waits_until_its_drop_is_common():
    table = table_of({"held": {9: 0.9}, "moves": {6: 0.3, 9: 0.9}})
    assert allocate_by_sensitivity(table, 13 / 20, at_least=0.6) == {"held": 0.6, "moves": 0.7}


def test_a_layer_too_big_for_a_target_stays_dense():
    table = table_of({"a": {9: 0.1}, "big": {90: 0.2}, "c": {9: 0.9}}, size={"a": 10, "big": 100, "c": 10})
    assert allocate_by_sensitivity(table, 15 / 120, at_least=0.6) == {"a": 0.9, "big": 0.0, "c": 0.6}


def test_a_target_between_what_sparse_layers_can_have_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="means 10 of 30 .*at least 0.6 sparse has .*; the nearest have 9 and 12"):
        allocate_by_sensitivity(table_of(THREE), 1 / 3, at_least=0.6)


def test_a_layer_not_measured_as_far_as_at_least_stays_dense():
    table = table_of({"a": {5: 0.0}, "b": {7: 0.0}})
    assert allocate_by_sensitivity(table, drop=1.0, at_least=0.6) == {"a": 0.0, "b": 0.7}


@pytest.mark.parametrize("at_least", [0.0, 0.6])
def test_every_target_that_whole_weights_can_meet_is_met_at_the_lowest_drop_but_for_rounding(at_least: float):
    """Against all ways to give three layers whole weights."""
    random = np.random.default_rng(3)
    for _ in range(30):
        sizes = random.integers(3, 9, 3).tolist()
        drops = [np.concatenate([[0], np.cumsum(random.integers(0, 4, size))]) / 8 for size in sizes]
        table = table_of({n: dict(enumerate(d.tolist())) for n, d in zip("abc", drops)}, dict(zip("abc", sizes)))
        ways = [[k for k in range(size + 1) if k == 0 or k >= at_least * size] for size in sizes]
        lowest: dict[int, float] = {}
        for counts in product(*ways):
            cost = max(d[k] for d, k in zip(drops, counts))
            lowest[sum(counts)] = min(lowest.get(sum(counts), np.inf), cost)
        for total in range(sum(sizes) + 1):
            if total not in lowest:
                with pytest.raises(ValueError, match="the nearest have"):
                    allocate_by_sensitivity(table, total / sum(sizes), at_least=at_least)
                continue
            found = allocate_by_sensitivity(table, total / sum(sizes), at_least=at_least).values()
            counts = [round(sparsity * size) for sparsity, size in zip(found, sizes)]
            assert sum(counts) == total and all(k in allowed for k, allowed in zip(counts, ways))
            less = [max(k - 1, 0) if k - 1 >= at_least * size else k for k, size in zip(counts, sizes)]
            assert max(d[k] for d, k in zip(drops, less)) <= lowest[total]


def test_many_layers_of_one_measured_sparsity_are_not_all_combined():
    sizes = {f"w{i}": 1000 + 17 * i * i for i in range(40)}
    table = table_of({name: {size * 7 // 10: i / 100} for i, (name, size) in enumerate(sizes.items())}, sizes)
    target = sum(row.pruned for row in table.rows[:9]) / sum(sizes.values())
    sparsities = allocate_by_sensitivity(table, target, at_least=0.6)
    assert sum(round(s * n) for s, n in zip(sparsities.values(), sizes.values())) == round(target * sum(sizes.values()))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "give `target`, the overall sparsity, or `drop`"),
        ({"target": 75}, "`target` must be a fraction"),
        ({"drop": -0.1}, "`drop` must be a finite number >= 0"),
        ({"drop": float("nan")}, "`drop` must be a finite number"),
        ({"target": 0.5, "at_least": 60}, "`at_least` must be a fraction"),
    ],
)
def test_senseless_wishes_are_refused(arguments: dict[str, float], message: str):
    with pytest.raises(ValueError, match=message):
        allocate_by_sensitivity(table_of(THREE), **arguments)


def test_an_unfinished_table_is_refused():
    with pytest.raises(ValueError, match="no measurement of b; finish the analysis"):
        allocate_by_sensitivity(table_of({"a": {5: 0.1}, "b": {}}), drop=1.0)
