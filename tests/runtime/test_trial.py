# SPDX-License-Identifier: Apache-2.0
"""What counts as the same beside Paddle: sums in another order and near ties, and nothing that is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from paddle_unstructured.runtime.trial import are_close

ONES = np.ones(1000, np.float32)
PLACES = np.arange(1000)


@pytest.mark.parametrize(
    ("found", "want", "close"),
    [
        (ONES * 1.001, ONES, True),
        (ONES * 1.01, ONES, False),
        (np.append(ONES, 0.001), np.append(ONES, 0.0), True),  # beside the largest number
        (ONES * np.nan, ONES, False),
        (ONES, ONES * np.nan, True),  # where Paddle itself has none
        (ONES[:999], ONES, False),
        (np.where(PLACES < 10, -1, PLACES), PLACES, True),
        (np.where(PLACES < 11, -1, PLACES), PLACES, False),
        (np.array([1]), np.array([2]), False),
        (np.array([True, False]), np.array([True, True]), False),
    ],
)
def test_what_is_close(found, want, close):
    assert are_close(found, want) is close
