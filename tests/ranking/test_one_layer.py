# SPDX-License-Identifier: Apache-2.0
"""The cut of one layer in numpy decides as the exact cut on the device does."""

import numpy as np
import paddle
import pytest

from paddle_unstructured.ranking.cut import cut
from paddle_unstructured.ranking.one_layer import keep_highest


def test_equal_scores_fall_in_stored_order():
    assert keep_highest(np.array([1.0, 0.0, 1.0, 1.0]), 1, 3).tolist() == [False, False, False, True]


def test_a_unit_that_does_not_fit_stays():
    assert keep_highest(np.array([1.0, 2.0, 3.0]), 4, 7).tolist() == [False, True, True]


def test_short_units_count_by_what_they_hold():
    assert keep_highest(np.array([1.0, 2.0, 3.0]), np.array([4, 4, 1]), 8).tolist() == [False, False, True]


def test_short_units_fill_what_is_left_where_that_is_asked_for():
    scores, sizes = np.array([1.0, 2.0, 3.0, 4.0, 5.0, np.inf]), np.array([4, 4, 1, 3, 1, 1])
    assert keep_highest(scores, sizes, 6).tolist() == [False, True, True, True, True, True]
    assert keep_highest(scores, sizes, 6, fill=True).tolist() == [False, True, False, True, False, True]
    assert keep_highest(scores, sizes, 7, fill=True).tolist() == [False, True, False, True, False, True]
    assert keep_highest(scores, sizes, 8, fill=True).tolist() == [False, False, True, True, True, True]


def test_nothing_falls_where_nothing_may():
    assert keep_highest(np.zeros(3), 1, 0).all()


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("values", [3, 1000])
def test_it_is_what_the_exact_cut_decides(size, values):
    random = np.random.default_rng(values)
    scores = random.integers(0, values, 240).astype(np.float32)  # few values: many ties
    for fall in (0, 4, 100, 401, 240 * size):
        one = {"total": [fall], "low": [0], "high": [240 * size]}
        bounds = {name: paddle.to_tensor(value, dtype="int64") for name, value in one.items()}
        exact = cut([paddle.to_tensor(scores)], [paddle.ones([240])], [size], **bounds)
        assert (keep_highest(scores, size, fall) == (exact.keep[0].numpy() != 0)).all()
