# SPDX-License-Identifier: Apache-2.0
"""When and how much."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddle_unstructured import Constant, Polynomial
from paddle_unstructured.schedules import final_of


def test_constant_is_zero_before_its_first_step_and_then_stays():
    assert [Constant(0.5, begin_step=2)(t) for t in range(5)] == [0.0, 0.0, 0.5, 0.5, 0.5]


def test_constant_prunes_at_the_first_step_by_default():
    assert Constant(0.3)(0) == 0.3


def test_the_cubic_ramp_is_the_papers_formula():
    ramp = Polynomial(final=0.8, begin_step=10, end_step=20, initial=0.2)
    for t in range(10, 21):
        assert ramp(t) == pytest.approx(0.8 - 0.6 * (1 - (t - 10) / 10) ** 3, abs=1e-15)  # the same up to rounding


def test_the_ramp_is_zero_before_begin_and_initial_at_begin():
    ramp = Polynomial(final=0.8, begin_step=10, end_step=20, initial=0.2)
    assert (ramp(0), ramp(9)) == (0.0, 0.0)
    assert ramp(10) == pytest.approx(0.2, abs=1e-15)  # 0.8 + (0.2 - 0.8), up to rounding


@pytest.mark.parametrize("final", [0.1, 0.55, 0.7, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("every", [None, 3, 1000])
def test_the_ramp_reaches_exactly_its_final_value(final, every):
    ramp = Polynomial(final=final, begin_step=3, end_step=17, initial=0.05, update_every=every)
    assert ramp(16) < final
    assert ramp(17) == ramp(18) == ramp(10**9) == final


def test_between_updates_the_ramp_stands_still():
    ramp = Polynomial(final=0.9, begin_step=5, end_step=15, update_every=4)
    assert ramp(5) == ramp(8) < ramp(9) == ramp(12) < ramp(13) == ramp(14) < ramp(15)


def test_the_last_update_is_at_the_end_also_when_the_period_does_not_divide():
    ramp = Polynomial(final=0.9, begin_step=0, end_step=10, update_every=4)
    rises = [t for t in range(1, 20) if ramp(t) > ramp(t - 1)]
    assert rises == [4, 8, 10]


@pytest.mark.parametrize(
    "updates, rises", [(1, [10]), (2, [5, 10]), (3, [4, 7, 10]), (10, list(range(1, 11))), (50, list(range(1, 11)))]
)
def test_a_number_of_updates_splits_the_ramp_as_evenly_as_steps_allow(updates, rises):
    ramp = Polynomial(final=0.9, begin_step=0, end_step=10, updates=updates)
    assert [t for t in range(1, 20) if ramp(t) > ramp(t - 1)] == rises


def test_a_ramp_of_no_length_is_one_shot():
    ramp = Polynomial(final=0.6, begin_step=4, end_step=4)
    assert [ramp(3), ramp(4), ramp(5)] == [0.0, 0.6, 0.6]


def test_exponent_one_is_a_straight_line():
    ramp = Polynomial(final=1.0, begin_step=0, end_step=4, exponent=1.0)
    assert [ramp(t) for t in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 30), st.integers(0, 60), st.integers(1, 70), st.booleans())
def test_every_ramp_rises_within_its_bounds(one, other, begin, length, count, by_number):
    initial, final = sorted((one, other))
    ramp = Polynomial(
        final=final,
        begin_step=begin,
        end_step=begin + length,
        initial=initial,
        **{"updates" if by_number else "update_every": count},
    )
    values = [ramp(t) for t in range(begin + length + 5)]
    assert all(a <= b for a, b in zip(values, values[1:]))
    assert all(value == 0.0 for value in values[:begin])
    assert all(0.0 <= value <= 1.0 for value in values)
    assert values[-1] == final


@pytest.mark.parametrize(
    "arguments, word",
    [
        ({"final": 1.5}, "final"),
        ({"final": -0.1}, "final"),
        ({"final": float("nan")}, "final"),
        ({"final": "0.5"}, "final"),
        ({"initial": 0.9}, "initial"),
        ({"initial": -1.0}, "initial"),
        ({"begin_step": -1}, "begin_step"),
        ({"begin_step": 1.5}, "begin_step"),
        ({"end_step": 1}, "end_step"),
        ({"exponent": 0.0}, "exponent"),
        ({"exponent": float("nan")}, "exponent"),
        ({"update_every": 0}, "update_every"),
        ({"updates": 0}, "updates"),
        ({"updates": 2.0}, "updates"),
        ({"update_every": 2, "updates": 2}, "update_every"),
    ],
)
def test_a_senseless_ramp_is_refused_by_name(arguments, word):
    with pytest.raises(ValueError, match=f"`{word}`"):
        Polynomial(**{"final": 0.8, "begin_step": 2, "end_step": 9, **arguments})


@pytest.mark.parametrize("sparsity", [1.01, -0.5, 55, float("nan"), "0.5", None, True])
def test_a_sparsity_that_is_no_fraction_is_refused_with_its_value(sparsity):
    with pytest.raises(ValueError, match="`sparsity` must be a fraction") as error:
        Constant(sparsity)
    assert repr(sparsity) in str(error.value)


@pytest.mark.parametrize("step", [-1, 0.5, True])
def test_a_step_that_is_no_step_is_refused(step):
    with pytest.raises(ValueError, match="`begin_step`"):
        Constant(0.5, begin_step=step)


def test_schedules_say_what_they_are():
    assert repr(Constant(0.5)) == "Constant(sparsity=0.5, begin_step=0)"


def test_a_schedule_says_its_end_if_it_knows_it():
    assert final_of(Constant(0.5)) == 0.5
    assert final_of(Polynomial(final=0.8, begin_step=0, end_step=4)) == 0.8
    assert final_of(lambda step: 0.3) is None
