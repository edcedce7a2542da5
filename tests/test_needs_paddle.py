# SPDX-License-Identifier: Apache-2.0
"""Where Paddle is missing or too old, one message says what to install."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest

from paddle_unstructured.needs_paddle import explained

ROOT = Path(__file__).resolve().parents[1]
HIDE = "import sys; sys.modules['paddle'] = None; "  # as if it were not installed


def without_paddle(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", HIDE + code], capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.parametrize(
    "code",
    [
        "from paddle_unstructured import UnstructuredPruner",
        "import paddle_unstructured as pu; pu.sparsity_report",
        "from paddle_unstructured.export import export",
        "from paddle_unstructured.runtime import create_predictor",
        "from paddle_unstructured import distill",
    ],
)
def test_a_name_that_needs_paddle_says_which_to_install(code):
    done = without_paddle(code)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last.startswith("ModuleNotFoundError: this needs PaddlePaddle 3, which is not")
    assert 'pip install "paddle_unstructured[cpu]"' in last and "paddlepaddle-gpu" in last


def test_the_command_line_says_so_in_one_line():
    done = without_paddle("from paddle_unstructured.cli import main; sys.exit(main(['report', 'x']))")
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("paddle_unstructured report: error: this needs PaddlePaddle 3")


def test_what_needs_no_paddle_does_without():
    code = "import paddle_unstructured; from paddle_unstructured.runtime import Session; print(paddle_unstructured.ERK)"
    assert "ModuleNotFoundError" in without_paddle(code).stderr  # an allocation works on tensors
    code = "import paddle_unstructured as pu; from paddle_unstructured.runtime import Session; print(pu.Polynomial)"
    assert without_paddle(code).returncode == 0


def test_another_missing_module_is_left_alone():
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), explained():
        import no_such_module  # noqa: F401


def test_an_old_paddle_is_refused_with_its_version(monkeypatch):
    monkeypatch.setitem(sys.modules, "paddle", types.SimpleNamespace(__version__="2.6.2"))
    with pytest.raises(ImportError, match=r"needs PaddlePaddle 3\.0 or newer, got 2\.6\.2; install it"), explained():
        raise AttributeError("module 'paddle' has no attribute 'pir'")


@pytest.mark.parametrize("version", ["3.0.0", "3.3.1", "3.0.0-rc1", "0.0.0"])
def test_newer_ones_and_development_builds_are_taken(version, monkeypatch):
    monkeypatch.setitem(sys.modules, "paddle", types.SimpleNamespace(__version__=version))
    with explained():
        pass
