# SPDX-License-Identifier: Apache-2.0
"""Many images need little memory: activations that there is no room for wait in files."""

import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn

from paddle_unstructured.reconstruction import solve
from paddle_unstructured.reconstruction.reconstruct import reconstruct
from paddle_unstructured.reconstruction.spill import Spill
from paddle_unstructured.saved_model import open_model

pytestmark = pytest.mark.usefixtures("static")
BYTES = 1 << 20


def test_what_goes_makes_room_for_what_comes():
    spill, array = Spill(2.5 * BYTES), np.ones(BYTES // 4, np.float32)
    first = [spill.kept({"x": array + i})["x"] for i in range(3)]
    assert [isinstance(one, np.memmap) for one in first] == [False, False, True]
    del first[0]
    second = [spill.kept({"x": array + i})["x"] for i in range(2)]
    assert [isinstance(one, np.memmap) for one in second] == [False, True]
    assert all(np.array_equal(one, array + i) for i, one in enumerate(second))


def peak() -> int:
    """Most memory that this process has had since it was last asked to forget, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_is_bounded_where_activations_are_larger(tmp_path):
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, startup):
        x = y = paddle.static.data("x", [-1, 3, 128, 128])
        for channels in (32, 32, 32):
            y = nn.functional.relu(nn.Conv2D(y.shape[1], channels, 1)(y))
        y = nn.Linear(32, 5)(y.mean([2, 3]))
    executor = paddle.static.Executor(paddle.CPUPlace())
    executor.run(startup)
    paddle.static.save_inference_model(str(tmp_path / "m"), [x], [y], executor, program=program)
    images = np.random.default_rng(0).normal(size=(64, 3, 128, 128)).astype(np.float32)
    one_value = 64 * 32 * 128 * 128 * 4  # 134 MB
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    batches = [{"x": images[i : i + 32]} for i in range(0, 64, 32)]
    reconstruct(open_model(tmp_path / "m"), batches, ratio=0.5, memory=0.02, steps=0)
    assert peak() - before < 1.5 * one_value


@pytest.mark.parametrize("groups", [1, 3])
def test_a_matrix_is_inverted_by_halves(monkeypatch, groups):
    monkeypatch.setattr(solve, "MANY", 8)
    x = np.random.default_rng(0).normal(size=(groups, 60, 37)) @ np.diag(np.linspace(0.1, 2.0, 37))
    a = (x.transpose(0, 2, 1) @ x).astype(np.float32)
    assert np.allclose(solve.inverse(a, 0.5) @ (a + 0.5 * np.eye(37)), np.eye(37), atol=1e-3)
