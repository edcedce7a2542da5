# SPDX-License-Identifier: Apache-2.0
"""Stdout holds a command's result and nothing else, stderr nothing of what Paddle says of itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import paddle
import pytest
from nets import Net

import paddle_unstructured

FIRST_WORDS = {  # command -> how its result begins
    "report m": "name ",
    "check m --sparsity 0": "name ",
    "prune m --ratio 0.5 -o pruned/m": "name ",
    "export m -o exported/m": "name ",
    "export m --to int8 -o int8/m": "name ",
    "compress m -o m.pu": "",
    "decompress m.pu -o back/m": "written: back/m\n",
    "accelerate m -o fast/m": "layer ",
    "benchmark m averaged --rounds 2": "m ",
    "lite m": "name ",
}
FOLDER = str(Path(paddle_unstructured.__file__).parents[1])
PADDLE = ("ReduceMean", "Executor", "ccache", "\x1b", "PIR pass", "Warning", "WARNING", "place")


@pytest.fixture
def models(static, tmp_path, monkeypatch) -> None:
    """`m`, and `averaged`, whose mean makes Paddle print while it opens it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GLOG_minloglevel", raising=False)

    def plain(x):
        return paddle.nn.Linear(32, 8)(paddle.nn.functional.relu(paddle.nn.Linear(16, 32)(x)))

    def averaged(x):
        return plain(x) + paddle.mean(paddle.mean(x.reshape([-1, 2, 8, 1]), axis=[2, 3]), axis=-1, keepdim=True)

    for name, layers in (("m", plain), ("averaged", averaged)):
        net = Net(layers, [4, 16], own_scope=True)
        with paddle.static.scope_guard(net.scope):
            paddle.static.save_inference_model(name, [net.input], [net.output], net.exe, program=net.program)


def run_all(**environment: str) -> tuple[list[str], str]:
    """What each command says on stdout, and what all of them say on stderr, in one process."""
    script = f"""
import sys
from paddle_unstructured.cli import main
for words in {list(FIRST_WORDS)}:
    assert main(words.split()) == 0, words
    print(end="\\0", flush=True)
"""
    found = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": FOLDER, **environment},
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.split("\0")[:-1], found.stderr


def test_a_commands_output_is_its_result_alone(models):
    said, errors = run_all()
    assert not [line for line in errors.splitlines() if not line.startswith("compiling ")]  # once on a machine
    assert len(said) == len(FIRST_WORDS)
    for (command, begins), text in zip(FIRST_WORDS.items(), said):
        assert text.strip() and text.startswith(begins), command
        assert not [word for word in PADDLE if word in text], command


@pytest.mark.slow
def test_each_compilation_is_one_line_on_stderr(models, tmp_path):
    _, errors = run_all(PADDLE_UNSTRUCTURED_CACHE=str(tmp_path / "cache"))
    said = [line.split(",")[0] for line in errors.splitlines()]
    assert said == ["compiling the runtime's kernels", "compiling the Paddle operator"]


def test_what_paddle_prints_goes_to_stderr_or_nowhere():
    script = """
import ctypes, os
from paddle_unstructured.cli.results import only_results_on_stdout, results
with only_results_on_stdout():
    libc = ctypes.CDLL(None)
    print("the result", file=results())
    libc.puts(b"ReduceMeanCheckIfOneDNNSupport")
    os.write(1, b"\\x1b[1m\\x1b[35m--- Running PIR pass [constant_folding_pass]\\x1b[0m\\n")
    os.write(1, b"I1129 00:01:02.030405 77 executor.cc:9] New Executor is Running.\\n")
    libc.puts(b"E1129 a kernel has failed")
    os.write(1, b"a word in C++\\n")
    print("a word in Python")
print("afterwards")
"""
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": FOLDER}
    )
    assert (found.returncode, found.stdout) == (0, "the result\nafterwards\n")
    assert sorted(found.stderr.splitlines()) == ["E1129 a kernel has failed", "a word in C++", "a word in Python"]
