"""What a weight is worth."""

from __future__ import annotations

import pytest
from nets import tensor

from paddle_unstructured import magnitude


def test_magnitude_is_the_absolute_value():
    assert magnitude(tensor([[-2.0, 0.5], [0.0, -0.0]])).tolist() == [[2.0, 0.5], [0.0, 0.0]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_magnitude_keeps_the_precision(dtype):
    score = magnitude(tensor([-1.0 - 2.0**-40], dtype))
    assert (score.dtype.name.lower(), score.item()) == (dtype, 1.0 + 2.0**-40 if dtype == "float64" else 1.0)
