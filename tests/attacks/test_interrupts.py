# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C: exit code 130, one line, nothing half-written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paddle_unstructured import cli

pytestmark = pytest.mark.usefixtures("static")


@pytest.mark.parametrize("moment", ["before", "between the two names"])
def test_ctrl_c_ends_with_130_and_leaves_what_was_there(legacy, tmp_path, monkeypatch, capsys, moment):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["prune", str(legacy / "plain"), "--ratio", "0.25", "-o", "m"]) == 0
    before = {name: Path(name).read_bytes() for name in os.listdir()}
    real, calls = os.replace, []

    def stopped(source, target):
        calls.append(target)
        if moment == "before" or sum(os.path.realpath("m.") in each for each in calls) == 2:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr("os.replace", stopped)
    capsys.readouterr()
    assert cli.main(["prune", str(legacy / "plain"), "--ratio", "0.75", "-o", "m"]) == 130
    monkeypatch.undo()
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err == "paddle_unstructured prune: interrupted; what was there before is unchanged\n"
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before
