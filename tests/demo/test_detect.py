# SPDX-License-Identifier: Apache-2.0
"""Boxes of a converted detector, drawn; and models that are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from detect import drawn, found_by


class Answers:
    """Stands for a Session."""

    def __init__(self, *shapes: tuple[int, ...]) -> None:
        self.shapes = shapes

    def run(self, images: Any) -> list[np.ndarray]:
        return [np.zeros(shape, np.float32) for shape in self.shapes]


def test_a_box_that_int8_has_turned_over_is_not_drawn():
    found = np.float32([[0, 0.9, 2, 2, 12, 12], [1, 0.8, 5, 9, 8, 3], [1, 0.7, 9, 3, 5, 8]])
    pixels = np.zeros((16, 16, 3), np.uint8)
    image = np.asarray(drawn(pixels, found, 16, 0.3))
    assert image.any() and (image == np.asarray(drawn(pixels, found[:1], 16, 0.3))).all()


@pytest.mark.parametrize("shapes", [((1, 2, 8, 8),), ((1, 2, 8, 8), (1, 3, 8)), ((1, 8, 3), (1, 5, 8))])
def test_a_model_that_finds_no_boxes_is_refused_by_name(shapes):
    with pytest.raises(ValueError, match=r"fast must give boxes \[n, points, 4\] and scores .*, got outputs \(1, "):
        found_by(Answers(*shapes), np.zeros((1, 3, 8, 8)), "fast")


def test_boxes_and_scores_pass():
    boxes, scores = found_by(Answers((2, 7, 4), (2, 5, 7)), np.zeros((2, 3, 8, 8)), "fast")
    assert boxes.shape == (2, 7, 4) and scores.shape == (2, 5, 7)
