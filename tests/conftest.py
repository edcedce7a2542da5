# SPDX-License-Identifier: Apache-2.0
"""Fixtures: static-graph mode with a fresh global scope, where a test asks for it; models of Paddle 2."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Iterator

import legacy_models
import paddle
import pytest


@pytest.fixture
def static() -> Iterator[None]:
    """Static-graph mode, and a global scope that nobody else has used."""
    paddle.enable_static()
    with paddle.static.scope_guard(paddle.static.Scope()):
        yield
    paddle.disable_static()  # whatever was on before: the next test may be an eager one


@pytest.fixture(scope="session")
def legacy(tmp_path_factory) -> Path:
    """A folder with the models that `legacy_models.make` saves. Not to be changed."""
    folder = tmp_path_factory.mktemp("legacy")
    legacy_models.make(folder)
    return folder


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    """Pruning without training ends in steps that take seconds; few are enough for most tests."""
    module = sys.modules.get("paddle_unstructured.reconstruction.refine")
    if module is not None:
        monkeypatch.setattr(module, "STEPS", 10)
