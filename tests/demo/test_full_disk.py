# SPDX-License-Identifier: Apache-2.0
"""A file system without space: what the demo was writing is not there, what was there before is, and it is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import calibration_images
import checkpoints
import paddle
import pytest
from checkpoints import State, epochs
from commands import TINY, run
from inference import export, load_inference
from programs import build_net

SIZE = 2 << 20


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if sys.platform != "linux" or not shutil.which("mount") or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(disk: Path, free: int) -> None:
    """Leave `free` bytes."""
    (disk / "filler").unlink(missing_ok=True)
    status = os.statvfs(disk)
    with open(disk / "filler", "wb") as filler:
        filler.write(bytes(max(0, status.f_bavail * status.f_frsize - free)))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def lenet(exe: paddle.static.Executor, **words):
    optimizer = paddle.optimizer.Momentum(0.1, 0.9)
    net = build_net("LeNet", image_shape=(1, 8, 8), classes=10, optimizer=optimizer, **words)
    exe.run(net.startup)
    return net


def test_a_checkpoint_is_whole_or_the_old_one_is_there(static, disk):
    net = lenet(static)
    folder = disk / "epoch_0"
    checkpoints.save(folder, net.train, State({}, epoch=0, step=1))
    size = sum(map(len, contents(folder).values()))
    before, full = contents(folder), 0
    for free in range(0, size + 65536, 32768):
        fill(disk, free)
        try:
            checkpoints.save(folder, net.train, State({}, epoch=0, step=2))
        except OSError as error:
            assert "No space left on device" in str(error)
            assert contents(folder) == before
            full += 1
        else:
            break
        finally:
            assert [path.name for path in disk.iterdir() if path.name.startswith(".")] == []
    assert full >= size // 32768 - 1 and State.read(folder).step == 2
    checkpoints.resume(folder, net.train)


def test_an_exported_model_is_whole_or_the_old_one_is_there(static, disk):
    net = lenet(static)
    export(disk / "inference", net, static, State({}, epoch=0))
    before = contents(disk / "inference")
    for free in (0, 32768, 65536):
        fill(disk, free)
        with pytest.raises(OSError, match="no space left|No space left"):
            export(disk / "inference", net, static, State({}, epoch=1))
        assert contents(disk / "inference") == before
    assert load_inference(disk / "inference", paddle.CPUPlace()) is not None


def test_calibration_images_are_whole_or_not_there(disk, monkeypatch):
    words = ["calibration_images.py", str(disk / "images.npy"), "--data", "digits", "--count"]
    monkeypatch.setattr("sys.argv", [*words, "16"])
    calibration_images.main()
    before = contents(disk)
    fill(disk, 16384)
    monkeypatch.setattr("sys.argv", [*words, "256"])
    with pytest.raises(OSError, match="no space left"):
        calibration_images.main()
    (disk / "filler").unlink()
    assert contents(disk) == before


def test_a_run_that_finds_no_space_says_so_and_how_to_go_on(disk):
    fill(disk, 16384)
    flags = (*TINY, "--pruning_strategy", "dense", "--num_epochs", 1, "--model_path", disk / "run")
    found = run("train.py", *flags, fails=True)
    assert "Traceback" not in found.stderr
    *_, last = found.stderr.splitlines()
    assert last.startswith("train.py: error: ") and "No space left on device; no epoch had been written" in last
    assert epochs(disk / "run") == {}
