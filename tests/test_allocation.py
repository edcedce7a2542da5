# SPDX-License-Identifier: Apache-2.0
"""Who competes with whom for the budget."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import tensor

from paddle_unstructured import ERK, LAMP, Global, Param, Threshold, Uniform
from paddle_unstructured.allocation import Quota


def params(*sizes: int) -> list[Param]:
    return [Param(f"layer_{i}", (size,), "float32", "linear", "pd_op.mv", None, 0) for i, size in enumerate(sizes)]


def budget_of(allocation, sizes, sparsity) -> Quota:
    return allocation.budget(params(*sizes), sparsity, limits=sizes)


def pruned(allocation, layers, sparsity, alive=None) -> list[int]:
    """Weights pruned per layer."""
    units = [tensor(layer) for layer in layers]
    alive = [tensor(a) for a in alive or [[1] * len(layer) for layer in layers]]
    budget = budget_of(allocation, [len(layer) for layer in layers], sparsity)
    decision = allocation.decide(units, alive, [1] * len(layers), budget)
    assert [int((k == 0).sum()) for k in decision.keep] == decision.pruned.tolist()
    return decision.pruned.tolist()


SMALL, LARGE = [float(i) for i in range(1, 11)], [100.0 + i for i in range(10)]  # every score of SMALL is the lower


def test_without_a_floor_a_race_can_empty_a_layer():
    assert pruned(Global(floor=0), [SMALL, LARGE], 0.5) == [10, 0]


def test_a_floor_keeps_its_part_of_the_overall_density_and_the_others_pay():
    # ceil(0.3 * 0.5 * 10) = 2 weights stay.
    assert pruned(Global(floor=0.3), [SMALL, LARGE], 0.5) == [8, 2]


def test_the_floor_is_three_tenths_by_default():
    assert Global() == Global(floor=0.3)


def test_a_floor_of_one_is_the_same_sparsity_everywhere():
    assert pruned(Global(floor=1.0), [SMALL, LARGE], 0.4) == [4, 4]


def test_a_floor_rounds_up_so_that_one_weight_of_a_tiny_layer_stays():
    layers = [[1.0, 2.0], [float(i) for i in range(10, 110)]]
    assert pruned(Global(floor=0.3), layers, 0.9) == [1, 91]


def test_a_floor_gives_way_where_it_would_keep_more_than_may_be_kept():
    assert sum(pruned(Global(floor=0.3), [[1.0], [2.0], [3.0], [4.0]], 0.75)) == 3


@pytest.mark.parametrize("sparsity", [0.0, 1.0])
def test_nothing_and_everything_are_sparsities(sparsity):
    assert pruned(Global(), [SMALL, LARGE], sparsity) == [10 * sparsity] * 2


def test_a_floor_gives_way_where_other_layers_cannot_lose_what_it_keeps():
    for allocation in (LAMP(floor=0.4), Global(floor=0.3)):
        assert allocation.budget(params(100, 100), 0.75, limits=[100, 50]).high.tolist() == [100, 50]
        assert allocation.budget(params(100, 100), 0.5, limits=[100, 50]).high.max() <= 85


def test_lamp_has_a_floor_where_one_is_asked_for():
    uneven, even = [0.001] * 9 + [100.0], [1.0] * 10  # of the first LAMP takes all but the weight that holds its energy
    assert LAMP() == LAMP(floor=0.0) and pruned(LAMP(), [uneven, even], 0.5) == [9, 1]
    assert pruned(LAMP(floor=0.4), [uneven, even], 0.5) == [8, 2]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=6), st.floats(0, 1), st.floats(0, 1))
def test_the_bounds_always_leave_room_for_the_exact_total(sizes, sparsity, floor):
    budget = budget_of(Global(floor), sizes, sparsity)
    assert budget_of(LAMP(floor=floor), sizes, sparsity).high.tolist() == budget.high.tolist()
    assert budget.total == round(sparsity * sum(sizes))
    assert budget.high.sum() >= budget.total
    assert (budget.low == 0).all() and (budget.high <= sizes).all() and (budget.high >= 0).all()


def test_a_floor_keeps_at_least_its_share_in_layers_of_any_size():
    sizes, sparsity = [7, 40, 300, 1000], 0.9
    for size, most in zip(sizes, budget_of(Global(floor=0.3), sizes, sparsity).high):
        assert size - most >= 0.3 * (1 - sparsity) * size > size - most - 1


def test_uniform_prunes_the_rounded_share_of_every_layer():
    assert pruned(Uniform(), [SMALL, LARGE, [1.0, 2.0, 3.0]], 0.5) == [5, 5, round(1.5)]


def test_ranked_allocations_are_due_only_when_the_sparsity_rises():
    for allocation in (Global(), Uniform()):
        assert allocation.due(7, 0.5, 0.4)
        assert not allocation.due(7, 0.5, 0.5)
        assert not allocation.due(7, 0.4, 0.5)


def test_a_threshold_prunes_what_is_below_it_and_not_what_equals_it():
    assert pruned(Threshold(2.0), [[1.0, 2.0, 3.0], [0.5, 1.9, 2.1]], 0.0) == [1, 2]


def test_a_threshold_of_zero_prunes_nothing_not_even_zeros():
    assert pruned(Threshold(0.0), [[0.0, 1.0]], 0.0) == [0]


@pytest.mark.parametrize("allocation", [Global(), LAMP(), ERK(), Uniform()], ids=repr)
def test_a_sparsity_out_of_reach_is_refused_with_the_nearest_that_is_not(allocation):
    with pytest.raises(ValueError, match=r"5 of 7 weights are to fall.* allow 4; ask for 0\.5714 at most, or for"):
        allocation.budget(params(4, 3), 0.75, limits=[2, 2])
    assert allocation.budget(params(4, 3), 0.5714, limits=[2, 2]).total == 4


def test_a_threshold_leaves_pruned_what_was():
    assert pruned(Threshold(2.0), [[9.0, 1.0, 3.0]], 0.0, alive=[[0, 1, 1]]) == [2]


def test_a_threshold_is_looked_at_every_so_many_steps():
    assert [t for t in range(10) if Threshold(0.1, update_every=4).due(t, 0.0, 0.0)] == [0, 4, 8]
    assert Threshold(0.1).due(3, 0.0, 0.0)


@pytest.mark.parametrize("floor", [-0.1, 1.1, float("nan")])
def test_a_floor_that_is_no_fraction_is_refused(floor):
    with pytest.raises(ValueError, match="`floor` must be in .*got " + repr(floor)):
        Global(floor)
    with pytest.raises(ValueError, match="`floor` must be in .*got " + repr(floor)):
        LAMP(floor=floor)


@pytest.mark.parametrize("value", [-0.01, float("nan"), np.inf])
def test_a_threshold_that_is_no_score_is_refused(value):
    with pytest.raises(ValueError, match="`threshold` must be"):
        Threshold(value)


def test_a_threshold_that_is_never_looked_at_is_refused():
    with pytest.raises(ValueError, match="`update_every`"):
        Threshold(0.1, update_every=0)
