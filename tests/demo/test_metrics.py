# SPDX-License-Identifier: Apache-2.0
"""Accuracy is of images, and an undecided or broken net gets none."""

import numpy as np
from metrics import Average
from tasks import hits


def test_average_is_weighted_by_batch_size():
    average = Average(1)
    average.add([1.0], 3)
    assert average.add([0.0], 1).tolist() == [0.75]


def test_a_hit_is_among_the_k_largest():
    scores = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    labels = np.array([[0], [1], [2]])
    assert hits(scores, labels, 1).tolist() == [True, False, False]
    assert hits(scores, labels, 2).tolist() == [True, True, False]


def test_ties_and_nan_are_misses():
    labels = np.array([[0]])
    assert not hits(np.array([[0.5, 0.5]]), labels, 1)[0]
    assert not hits(np.array([[np.nan, np.nan]]), labels, 1)[0]
