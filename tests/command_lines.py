# SPDX-License-Identifier: Apache-2.0
"""What the tests of the command line share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import paddle_unstructured
from paddle_unstructured.export import open_model

WEIGHTS = ("conv2d_0.w_0", "conv2d_1.w_0", "linear_0.w_0")  # 72 + 16 + 48 = 136 weights
DIVISIBLE = "conv2d_1.*|linear.*"  # whose inputs groups of four divide


def zeros(path: str, *names: str) -> int:
    found = open_model(path)
    return sum(int((found.graph.array(name) == 0).sum()) for name in names)


def process(*words: str, **kwargs: Any) -> subprocess.CompletedProcess:
    folder = str(Path(paddle_unstructured.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-m", "paddle_unstructured", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": folder, **kwargs.pop("env", {})},
        **kwargs,
    )


def refused(found: tuple[int, str, str], command: str, message: str) -> None:
    """Exit code 2, nothing on stdout, one error on stderr."""
    code, out, err = found
    assert (code, out) == (2, "")
    assert "Traceback" not in err and f"paddle_unstructured {command}: error: " in err
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(err)
