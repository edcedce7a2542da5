# SPDX-License-Identifier: Apache-2.0
"""Runs that are killed with kill -9 at random moments end in the bits of one that is not."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from commands import ROOT, environment


@pytest.mark.slow
def test_ten_kills_cost_no_more_than_the_work_since_the_last_checkpoint(tmp_path):
    script = [sys.executable, str(ROOT / "benchmarks" / "kill_and_resume.py"), "--folder", str(tmp_path), "--seed", "2"]
    done = subprocess.run(script, env=environment(), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [list(map(int, row.split())) for row in re.findall(r"^ +\d.*", done.stdout, re.M)]
    assert [kill for kill, *_ in rows] == list(range(1, 11))
    for _, reached, kept, resumed in rows:
        assert reached - 2 <= kept == resumed < reached  # two, when it fell while a checkpoint was being written
    assert "the same bits" in done.stdout
