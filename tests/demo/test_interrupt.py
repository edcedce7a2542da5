# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C in train.py: exit code 130, and the command that it names goes on."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkpoints import epochs
from commands import TINY, command, environment

FLAGS = (*TINY, "--pruning_strategy", "dense", "--num_epochs", 400)


def interrupted(folder: Path, *, after: int) -> tuple[int, str]:
    """Start a run, press Ctrl-C once epoch `after` is written; its exit code and stderr."""
    words = command("train.py", *FLAGS, "--model_path", folder)
    started = subprocess.Popen(words, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 300
        while after not in epochs(folder) and started.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        started.send_signal(signal.SIGINT)
        return started.wait(120), started.stderr.read()
    finally:
        started.kill()
        started.stderr.close()


@pytest.mark.slow  # two trainings, in processes of their own
def test_ctrl_c_says_how_to_resume_and_that_works(tmp_path):
    folder = tmp_path / "a run"
    code, said = interrupted(folder, after=1)
    assert code == 130, said
    assert "Traceback" not in said
    latest = max(epochs(folder))
    assert f"train.py: interrupted; to go on after epoch {latest}: " in said
    words = shlex.split(said.split(f"after epoch {latest}: ")[1])
    assert words[0] == "python" and Path(words[1]).name == "train.py"
    last = ["--num_epochs", str(latest + 2)]  # the last one counts
    done = subprocess.run([sys.executable, *words[1:], *last], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert max(epochs(folder)) == latest + 1 and f"after epoch {latest}" in done.stdout
