# SPDX-License-Identifier: Apache-2.0
"""A file system without space: every command ends with 2 and says so, and the model that was there is still there."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys

import numpy as np
import paddle
import pytest
from command_lines import process
from legacy_models import data
from nets import Net

from paddle_unstructured import cli

pytestmark = pytest.mark.usefixtures("static")
SIZE = 400_000  # bytes of the weights


def wide(x):
    return paddle.nn.Linear(250, 400)(x)


@pytest.fixture
def disk(tmp_path):
    """A file system of 1.5 MB with a good model `m`, and `in` beside it with a model of the same kind."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(folder)]
    if sys.platform != "linux" or not shutil.which("mount") or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        net = Net(wide, [2, 250], lambda: paddle.optimizer.SGD(0.1))
        for prefix in (tmp_path / "in", folder / "m"):
            paddle.static.save_inference_model(str(prefix), [net.input], [net.output], net.exe, program=net.program)
        np.save(tmp_path / "x.npy", data(8, 250))
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.mark.parametrize(
    "words",
    [
        "prune in --ratio 0.5 -o disk/m",
        "export in -o disk/m",
        "export in --to int8 -o disk/m",
        "accelerate in -o disk/m",
        "accelerate in --int8 --calibrate x.npy -o disk/m",
        "prune in --ratio 0.5 --steps 5 --calibrate x.npy -o disk/m",
        "accelerate in --prune 0.5 --int8 --calibrate x.npy -o disk/m",
        "compress in -o disk/m.pdiparams.pu",
        "compress in --values int4 -o disk/m.pdiparams.pu",
        "decompress small.pu -o disk/m",
        "report in --json -o disk/m.txt",
    ],
)
@pytest.mark.parametrize("free", [0, 16384])
def test_a_full_disk_leaves_the_old_model_and_is_said(disk, tmp_path, monkeypatch, capsys, words, free):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["compress", "in", "-o", "small.pu"]) == 0
    (disk / "m.txt").write_text("old")
    (disk / "m.pdiparams.pu").write_text("old")
    status = os.statvfs(disk)
    with open(disk / "filler", "wb") as filler:
        filler.write(bytes(max(0, status.f_bavail * status.f_frsize - free)))
    before = {file.name: file.read_bytes() for file in disk.iterdir()}
    capsys.readouterr()
    code, (out, err) = cli.main(words.split()), capsys.readouterr()
    if code == 0 and free:
        return  # a small file had room
    assert (code, out) == (2, "") and "no space left" in err
    assert {file.name: file.read_bytes() for file in disk.iterdir()} == before


@pytest.mark.parametrize(
    "words",
    [
        "prune in --ratio 0.5 --steps 5 --calibrate x.npy -o m",
        "accelerate in --int8 --calibrate x.npy -o m",
        "compress in --values int4 -o m.pu",
        "export in -o m",
    ],
)
def test_a_process_that_may_write_small_files_only_says_so(tmp_path, words):
    net = Net(wide, [2, 250], lambda: paddle.optimizer.SGD(0.1))
    paddle.static.save_inference_model(str(tmp_path / "in"), [net.input], [net.output], net.exe, program=net.program)
    np.save(tmp_path / "x.npy", data(8, 250))
    before = sorted(file.name for file in tmp_path.iterdir())
    found = process(
        *words.split(), cwd=tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    )
    assert found.returncode == 2 and "larger than this process may write (ulimit -f)" in found.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == before
