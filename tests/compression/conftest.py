# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests of compressed models."""

from __future__ import annotations

import numpy as np
import pytest
from model_files import floats, write_model

from paddle_unstructured.compression.compress import compress


@pytest.fixture
def small(tmp_path) -> str:
    random = np.random.default_rng(0)
    weight = random.normal(size=(40, 30)) * (random.random((40, 30)) < 0.3)
    compress(write_model(tmp_path / "m", floats(w=weight, b=np.ones(3))), str(tmp_path / "small"))
    return str(tmp_path / "small")
