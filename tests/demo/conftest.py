# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the demo's tests: trained runs, and a place to build nets in."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "demo")]

import paddle  # noqa: E402
import pytest  # noqa: E402
from commands import GMP, TINY, run  # noqa: E402


@pytest.fixture(scope="session")
def dense(tmp_path_factory) -> Path:
    """A dense run of four epochs on digits."""
    folder = tmp_path_factory.mktemp("runs") / "dense"
    run("train.py", *TINY, "--pruning_strategy", "dense", "--num_epochs", 4, "--model_path", folder)
    return folder


@pytest.fixture(scope="session")
def gmp(dense, tmp_path_factory) -> Path:
    """A GMP run of six epochs from the dense one; sparsity rises during the first three."""
    folder = tmp_path_factory.mktemp("runs") / "gmp"
    run("train.py", *TINY, *GMP, "--pretrained_model", dense, "--model_path", folder)
    return folder


@pytest.fixture
def static():
    """An executor in static-graph mode, with a scope of its own."""
    paddle.enable_static()
    with paddle.static.scope_guard(paddle.static.Scope()):
        yield paddle.static.Executor(paddle.CPUPlace())
    paddle.disable_static()  # whatever was on before: the next test may be an eager one
