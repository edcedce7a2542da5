# SPDX-License-Identifier: Apache-2.0
"""Folders for the while: gone at the end, also after a kill; full disks."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from paddle_unstructured.formats.scratch import full_disk_said, scratch

ROOT = str(Path(__file__).resolve().parents[2])
KILLED = """
import os, signal
from paddle_unstructured.formats.scratch import scratch
with scratch() as folder:
    open(os.path.join(folder, "model"), "w").write("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """Where the system keeps what is needed for a while."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_a_folder_is_gone_at_the_end_and_after_an_error(place):
    with scratch() as folder:
        assert os.path.dirname(folder) == str(place)
    with pytest.raises(KeyError), scratch():
        raise KeyError
    assert os.listdir(place) == []


def test_what_a_killed_process_left_is_removed_by_the_next(place):
    assert subprocess.run([sys.executable, "-c", KILLED], cwd=ROOT).returncode < 0
    assert len(os.listdir(place)) == 1
    with scratch() as folder:
        assert os.listdir(place) == [os.path.basename(folder)]


def test_the_living_and_what_is_not_ours_are_left_alone(place):
    others = ["paddle_unstructured_abcd1234", "paddle_unstructured_notes", "model"]  # the first: just made, not locked
    for name in others:
        (place / name).mkdir()
    (place / "paddle_unstructured_notes" / ".alive").write_text("")
    with scratch() as first, scratch() as second:
        assert os.path.isdir(first) and first != second
    assert sorted(os.listdir(place)) == sorted(others)


@pytest.mark.parametrize(
    "error, free, message",
    [
        (ValueError("model.pdiparams is cut off"), 1000, "no space left for what is kept meanwhile; let TMPDIR name"),
        (ValueError("model.pdiparams is cut off"), 1 << 30, "is cut off"),
        (OSError(errno.ENOSPC, "no space left; nothing was written", "/elsewhere"), 1000, "nothing was written"),
    ],
)
def test_what_fails_where_no_space_is_left_says_that(tmp_path, monkeypatch, error, free, message):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises((OSError, ValueError), match=message), full_disk_said(str(tmp_path)):
        raise error


def test_it_is_imported_where_there_are_neither_locks_nor_limits():
    code = (
        "import sys; sys.modules.update(fcntl=None, resource=None)\n"  # as on Windows
        "from paddle_unstructured.formats import scratch\n"
        "with scratch.scratch() as folder: assert not scratch.stopped_at_limit(folder)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
