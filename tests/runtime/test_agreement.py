# SPDX-License-Identifier: Apache-2.0
"""How often two models answer alike: by samples, positions or pixels."""

from __future__ import annotations

import numpy as np
import pytest

from paddle_unstructured.runtime.agreement import compare

SAID = np.eye(5, dtype="float32")[[[0, 1, 4], [2, 2, 3]]]  # two samples of three positions, five classes


@pytest.mark.parametrize(
    ("turned", "said"),
    [
        (lambda x: x, "83.33% of 6 positions of 2 samples"),
        (lambda x: x.transpose(0, 2, 1)[:, :, :, None], "83.33% of 6 pixels of 2 samples"),
        (lambda x: x[:, 2], "50.00% of 2 samples"),
        (lambda x: x[:, 2, 3], "100.00% of 2 samples"),  # single numbers, which rank nothing
    ],
    ids=["positions", "pixels", "samples", "numbers"],
)
def test_each_answer_counts(turned, said):
    other = SAID.copy()
    other[1, 2] = [0, 1, 0, 0, 0]
    found = compare([turned(SAID)], [turned(other)])
    assert f"same first answer {said}; outputs" in str(found)


def test_other_numbers_of_rows_are_said_and_not_compared():
    found = compare([np.ones((5, 6)), np.ones(2)], [np.ones((3, 6)), np.ones(2)])
    assert str(found) == "outputs of 5 and 3 rows, which of them belong together is not known"
    assert np.isnan(found.same_first) and np.isnan(found.largest)
    with pytest.raises(ValueError, match="models of the same net"):
        compare([np.ones((5, 6))], [np.ones((5, 7))])


def test_no_samples_are_alike():
    assert compare([np.zeros((0, 3))], [np.zeros((0, 3))]).same_first == 1.0
