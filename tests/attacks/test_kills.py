# SPDX-License-Identifier: Apache-2.0
"""SIGKILL while a model is written: the old pair or the new one opens afterwards, never half of each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import json, os, random, signal, sys, time
import numpy as np
import paddle
from paddle_unstructured.export import open_model, save_model

paddle.enable_static()
random.seed(int(sys.argv[1]))
main, startup = paddle.static.Program(), paddle.static.Program()
with paddle.static.program_guard(main, startup):
    x = paddle.static.data("x", [-1, 64], "float32")
    y = paddle.nn.Linear(64, 64)(x)
executor = paddle.static.Executor(paddle.CPUPlace())
executor.run(startup)
os.mkdir("m")
paddle.static.save_inference_model("m/model", [x], [y], executor, program=main)
model = open_model("m")
begun = time.perf_counter()
save_model(model, "m/model")
once = time.perf_counter() - begun


def write(value):
    model.graph.store("linear_0.w_0", np.full((64, 64), value, "float32"))
    model.graph.store("linear_0.b_0", np.full(64, value, "float32"))
    save_model(model, "m/model")


write(0)
found = []
for turn in range(int(sys.argv[2])):
    child = os.fork()
    if not child:
        for value in range(1, 1000):
            write(turn * 1000 + value)
        os._exit(0)
    time.sleep(random.random() * 4 * once)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    graph = open_model("m/model").graph
    found.append(sorted({*np.unique(graph.array("linear_0.w_0")), *np.unique(graph.array("linear_0.b_0"))}))
write(-1)
print(json.dumps([[float(value) for value in values] for values in found]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="it needs fork")
@pytest.mark.parametrize(("seed", "kills"), [(1, 15), pytest.param(2, 80, marks=pytest.mark.slow)])
def test_a_model_whose_writer_is_killed_opens_as_the_old_one_or_the_new_one(tmp_path, seed, kills):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GLOG_minloglevel": "2", "PYTHONWARNINGS": "ignore"}
    words = [sys.executable, "-c", SCRIPT, str(seed), str(kills)]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == kills and all(len(values) == 1 for values in found)
    assert sorted(os.listdir(tmp_path / "m")) == ["model.json", "model.pdiparams"]
