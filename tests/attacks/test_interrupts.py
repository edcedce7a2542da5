# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM: exit code 130 or 143, one line, nothing half-written."""

from __future__ import annotations

import os
import signal
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


def test_sigterm_ends_as_ctrl_c_does(legacy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folders = []

    def stopped(source, target):
        folders.extend(os.listdir())
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("os.replace", stopped)
    assert cli.main(["prune", str(legacy / "plain"), "--ratio", "0.75", "-o", "m"]) == 143
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err == "paddle_unstructured prune: ended by SIGTERM; what was there before is unchanged\n"
    assert len(folders) == 1 and os.listdir() == []


def test_who_handles_sigterm_goes_on_to(legacy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    heard = []
    real = os.replace

    def asked(source, target):
        os.kill(os.getpid(), signal.SIGTERM)
        real(source, target)

    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("it"))
    try:
        monkeypatch.setattr("os.replace", asked)
        assert cli.main(["prune", str(legacy / "plain"), "--ratio", "0.75", "-o", "m"]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard
