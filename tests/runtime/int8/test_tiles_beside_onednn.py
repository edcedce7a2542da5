# SPDX-License-Identifier: Apache-2.0
"""Our tiles beside those of oneDNN, Paddle's kernels on a CPU, in one process: by turns, in threads, in a fork.

Both configure the tiles of a thread for themselves. Paddle's Predictor in bfloat16 uses them where the processor has
AMX; that it did is read from oneDNN's own log.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from int8_plans import ISAS_INT8

TURNS = """
import os, sys, threading
sys.path[:0] = {paths!r}
import numpy as np
import paddle
from paddle import inference, nn
from test_int8_tiles import Engine, layers_on_tiles, pick_bytes

random = np.random.default_rng(5)
writer, bytes_ = layers_on_tiles(random), pick_bytes(random, 1, 256, 9, 9)
engine = Engine(writer.text, writer.arrays)
ours = engine.run(bytes_)[0]

paddle.enable_static()
program, startup = paddle.static.Program(), paddle.static.Program()
with paddle.static.program_guard(program, startup):
    x = paddle.static.data("x", [1, 64, 14, 14])
    y = nn.Conv2D(256, 64, 1)(nn.functional.relu(nn.Conv2D(64, 256, 3, padding=1)(x)))
executor = paddle.static.Executor()
executor.run(startup)
paddle.static.save_inference_model({model!r}, [x], [y], executor, program=program)
config = inference.Config({model!r} + ".json", {model!r} + ".pdiparams")
config.disable_gpu()
config.enable_mkldnn()
config.enable_mkldnn_bfloat16()
config.enable_new_ir(True)
config.enable_new_executor(True)
config.set_cpu_math_library_num_threads(1)
first = inference.create_predictor(config)
image = random.normal(size=(1, 64, 14, 14)).astype("float32")


def theirs_from(predictor):
    predictor.get_input_handle("x").copy_from_cpu(image)
    predictor.run()
    return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()


theirs, wrong = theirs_from(first), []


def by_turns(predictor, where):
    for _ in range(10):
        if not (engine.run(bytes_)[0] == ours).all():
            wrong.append("ours " + where)
        if not (theirs_from(predictor) == theirs).all():
            wrong.append("theirs " + where)


by_turns(first, "by turns")
threads = [threading.Thread(target=by_turns, args=(first.clone(), "in a thread")) for _ in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
child = os.fork()
if child == 0:
    os._exit(0 if (engine.run(bytes_)[0] == ours).all() else 1)
if os.waitpid(child, 0)[1] != 0:
    wrong.append("ours in a fork")
by_turns(first, "after a fork")
print("ran on", engine.isa_int8, "wrong:", wrong)
"""


@pytest.mark.skipif("amx" not in ISAS_INT8, reason="this processor has no AMX")
def test_tiles_of_onednn_and_ours_leave_each_other_alone(tmp_path):
    here = os.path.dirname(os.path.abspath(__file__))
    paths = [here, os.path.dirname(os.path.dirname(here))]
    script = TURNS.format(paths=paths, model=str(tmp_path / "net"))
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "ONEDNN_VERBOSE": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    if not any("convolution" in line and "amx" in line for line in done.stdout.splitlines()):
        pytest.skip("oneDNN runs this Predictor without AMX")
    assert "ran on amx wrong: []" in done.stdout
