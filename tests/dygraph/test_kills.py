# SPDX-License-Identifier: Apache-2.0
"""SIGKILL while an nn.Layer trains: the run goes on from its last checkpoint and ends in the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import os, sys, time
import numpy as np
import paddle
from layer_nets import made, train
import paddle_unstructured as pu

STEPS, folder = 30, sys.argv[1]
with paddle.utils.unique_name.guard():
    model = made()
    optimizer = paddle.optimizer.Adam(0.01, parameters=model.parameters())
    schedule = pu.Polynomial(final=0.8, initial=0.2, begin_step=4, end_step=24, updates=5)
    pruner = pu.UnstructuredPruner(model, optimizer=optimizer, schedule=schedule, criterion=pu.Saliency(batches=3))
    if os.path.exists(f"{folder}/latest"):
        last = f"{folder}/{open(f'{folder}/latest').read()}"
        model.set_state_dict(paddle.load(f"{last}/model.pdparams"))
        optimizer.set_state_dict(paddle.load(f"{last}/model.pdopt"))
        pruner.load(f"{last}/model.pruner")
    while pruner.steps < STEPS:
        train(model, optimizer, pruner)
        now = f"{folder}/{pruner.steps}"
        os.makedirs(now, exist_ok=True)
        paddle.save(model.state_dict(), f"{now}/model.pdparams")
        paddle.save(optimizer.state_dict(), f"{now}/model.pdopt")
        pruner.save(f"{now}/model.pruner")
        with open(f"{folder}/next", "w") as file:
            file.write(str(pruner.steps))
        os.replace(f"{folder}/next", f"{folder}/latest")
    np.savez(f"{folder}/end.npz", sparsity=pruner.sparsity(), **{n: t.numpy() for n, t in model.state_dict().items()})
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "GLOG_minloglevel": "2"}
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", SCRIPT, str(folder)], env=environment)


def step_of(folder: Path) -> int:
    latest = folder / "latest"
    return int(latest.read_text()) if latest.exists() else 0


@pytest.mark.slow
def test_a_killed_run_ends_in_the_same_bits(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert start(whole).wait(300) == 0
    for kill_after in (5, 13, 22):  # before the first update, between two, near the end
        process, until = start(broken), time.monotonic() + 120
        while step_of(broken) < kill_after and process.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL and kill_after <= step_of(broken) < 30
    assert start(broken).wait(300) == 0
    ends = [dict(np.load(folder / "end.npz")) for folder in (whole, broken)]
    assert ends[0]["sparsity"] == 0.8
    assert [name for name in ends[0] if ends[0][name].tobytes() != ends[1][name].tobytes()] == []
