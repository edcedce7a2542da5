# SPDX-License-Identifier: Apache-2.0
"""The demo's commands as a user starts them, and what they leave behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
from warm_start import run_script

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "demo"

TINY = ("--data", "digits", "--batch_size", "128", "--lr", "0.05", "--test_period", "1", "--model_period", "1")
GMP = ("--pruning_strategy", "gmp", "--ratio", "0.8", "--pruning_steps", "8", "--num_epochs", "6")


def environment() -> dict[str, str]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHON": sys.executable}


def command(script: str, *flags: object) -> list[str]:
    return [sys.executable, str(DEMO / script), *map(str, flags)]


def run(script: str, *flags: object, fails: bool = False) -> subprocess.CompletedProcess:
    """Run demo/SCRIPT; its exit code must be what the test expects."""
    done = run_script([str(DEMO / script), *map(str, flags)], environment())
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done


def variables(checkpoint: Path) -> dict[str, np.ndarray]:
    """Return every variable of a checkpoint: weights, statistics, optimizer, masks."""
    files = (checkpoint / "model.pdparams", checkpoint / "model.pdopt")
    return {name: np.asarray(value) for file in files for name, value in paddle.load(str(file)).items()}


def assert_same(first: Path, second: Path) -> None:
    """Two checkpoints must hold the same bits."""
    left, right = variables(first), variables(second)
    assert left.keys() == right.keys()
    assert [name for name in left if not np.array_equal(left[name], right[name])] == []


def history(run: Path, epoch: int) -> list[dict]:
    """Return the rows of a checkpoint's history without their times."""
    rows = json.loads((run / f"epoch_{epoch}" / "state.json").read_text())["history"]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]
