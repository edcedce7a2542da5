# SPDX-License-Identifier: Apache-2.0
"""Errors of the outputs by layer: how they are filled in between measurements, and that nothing is left changed."""

import numpy as np
import pytest

from paddle_unstructured.budget.errors import between


def test_between_two_anchors_the_logarithm_is_linear():
    found = between([0, 10, 30], [0.0, 0.01, 1.0], [0, 10, 20, 30])
    np.testing.assert_allclose(found, [0.0, 0.01, 0.1, 1.0])


def test_up_to_the_first_anchor_the_error_goes_as_the_cube_of_the_zeros():
    np.testing.assert_allclose(between([0, 10], [0.0, 0.5], [0, 2, 5, 10]), [0.0, 0.004, 0.0625, 0.5])


def test_an_error_never_falls_with_more_zeros():
    np.testing.assert_allclose(between([0, 1, 2, 3], [0.0, 0.4, 0.1, 0.5], [0, 1, 2, 3]), [0.0, 0.4, 0.4, 0.5])


def test_a_layer_that_never_errs_costs_nothing_worth_a_choice():
    assert between([0, 5, 10], [0.0, 0.0, 0.0], [0, 5, 10]).max() < 2e-12


def test_all_or_nothing():
    np.testing.assert_allclose(between([0, 8], [0.0, 0.2], [0, 8]), [0.0, 0.2])


@pytest.mark.parametrize("seed", range(5))
def test_errors_rise_and_pass_through_what_was_measured(seed):
    random = np.random.default_rng(seed)
    anchors = [0, *np.unique(random.integers(1, 1000, 6)).tolist()]
    errors = [0.0, *np.sort(random.uniform(1e-6, 1.0, len(anchors) - 1)).tolist()]
    found = between(anchors, errors, range(anchors[-1] + 1))
    assert (np.diff(found) >= 0).all()
    np.testing.assert_allclose(found[anchors], errors)
