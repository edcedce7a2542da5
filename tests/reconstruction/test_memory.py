# SPDX-License-Identifier: Apache-2.0
"""Many images need little memory: activations that there is no room for wait in files."""

import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from paddle import nn
from saved_nets import saved

from paddle_unstructured.reconstruction import dense, solve, spill, sweep
from paddle_unstructured.reconstruction.moments import Moments, energy
from paddle_unstructured.reconstruction.reconstruct import reconstruct
from paddle_unstructured.reconstruction.spill import Spill, let_go, together, trim, waiting
from paddle_unstructured.saved_model import open_model

pytestmark = pytest.mark.usefixtures("static")
BYTES = 1 << 20


def test_what_goes_makes_room_for_what_comes():
    room, array = Spill(2.5 * BYTES), np.ones(BYTES // 4, np.float32)
    first = [room.kept({"x": array + i})["x"] for i in range(3)]
    assert [isinstance(one, np.memmap) for one in first] == [False, False, True]
    del first[0]
    second = [room.kept({"x": array + i})["x"] for i in range(2)]
    assert [isinstance(one, np.memmap) for one in second] == [False, True]
    assert all(np.array_equal(one, array + i) for i, one in enumerate(second))


def resident(array) -> int:
    """Bytes of a file's mapping that are in memory."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    start = array.__array_interface__["data"][0] // 4096 * 4096
    for line in lines:
        if line.startswith((f"{start:x}-", f"{start:08x}-")):
            return 1024 * int(next(rest for rest in lines if rest.startswith("Rss")).split()[1])
    raise AssertionError("no such mapping")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
class Unwritten(np.ndarray):
    """Says what numpy says where a disk is full."""

    def tofile(self, file):
        raise OSError(f"{self.size} requested and 0 written")


@pytest.mark.parametrize("write", [waiting, lambda array: together([array])])
def test_a_disk_that_such_a_file_fills_is_said_to_be_full(tmp_path, monkeypatch, write):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    opened, real = [], tempfile.TemporaryFile
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **words: opened.append(real(**words)) or opened[-1])
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=BYTES if opened[0].closed else 0))
    with pytest.raises(OSError, match="no space left for what is kept meanwhile"):
        write(np.ones(4 * BYTES, np.uint8).view(Unwritten))


def test_what_was_read_of_a_file_is_given_back_by_any_view_of_it():
    small, array = np.ones(9), waiting(np.arange(2.0 * BYTES))
    assert waiting(small) is small and isinstance(array, np.memmap)
    assert array[-1] == 2 * BYTES - 1 and array.sum() == BYTES * (2.0 * BYTES - 1)
    assert resident(array) > 8 * BYTES
    let_go(np.asarray(array)[5:90].reshape(5, 17))
    assert resident(array) == 0 and array[7] == 7
    let_go(small)


def test_an_array_that_numpy_makes_like_one_in_a_file_is_not_in_a_file_yet():
    array = waiting(np.arange(2.0 * BYTES))
    other = np.empty_like(array)
    assert isinstance(other, np.memmap) and other._mmap is None
    other[:] = array
    again = waiting(other)
    assert again._mmap is not None and waiting(again) is again and np.array_equal(again, array)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_arrays_together_in_a_file_are_read_anew_once_memory_is_trimmed():
    arrays = [np.arange(n, dtype=kind) for n, kind in ((3, np.int8), (BYTES, np.float32), (BYTES, np.float64))]
    found = together(iter(arrays))
    assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(arrays, found))
    assert all(one.__array_interface__["data"][0] % 64 == 0 for one in found)
    assert resident(found[0]) > 11 * BYTES
    trim()
    assert resident(found[0]) == 0 and all(np.array_equal(a, b) for a, b in zip(arrays, found))
    assert together([]) == []


def test_large_weights_that_are_kept_are_read_from_a_file_by_paddle_too(tmp_path, monkeypatch):
    monkeypatch.setattr(dense, "_LARGE", 64)
    paddle.seed(0)
    model = saved(tmp_path, lambda x: nn.Linear(8, 5)(nn.functional.relu(nn.Linear(6, 8)(x))), (6,))
    x, before = np.ones((2, 6), np.float32), model.graph.stored("linear_0.w_0")
    (expected,) = model.run(x=x)
    with dense.kept(model) as scope:
        model.graph.store("linear_0.w_0", 0 * before)
        trim()
        executor = paddle.static.Executor(model.place)
        (found,) = executor.run(model.program, feed={"x": x}, fetch_list=list(model.fetches), scope=scope)
        assert np.array_equal(found, expected)
        assert np.array_equal(np.array(scope.find_var("linear_0.w_0").get_tensor()), before)
    assert not [name for name in scope.local_var_names() if "linear" in name]


def test_large_sums_in_files_are_those_in_memory(monkeypatch):
    random, found = np.random.default_rng(0), []
    x, y = (random.normal(size=(2, 50, n)).astype(np.float32) + 1 for n in (6, 3))
    weight = random.normal(size=(2, 3, 6))
    for least in (1 << 30, 1):
        monkeypatch.setattr(spill, "_LARGE", least)
        monkeypatch.setattr(spill, "_SMALL", 0)
        seen, other = Moments.empty(2, 3, 6), Moments.empty(2, 3, 6)
        for one, rows in ((seen, slice(0, 30)), (other, slice(30, 50))):
            one.add(x[:, rows], y[:, rows])
            one.wait()
        seen.include(other)
        seen.wait()
        second, cross = seen.centred()
        for sums in (other.second, seen.second, seen.cross, second):
            assert (getattr(sums, "_mmap", None) is not None) == (least == 1)
        found.append(
            (
                seen.error(weight),
                energy(second, weight),
                *solve.solve(second, cross, weight, 0.1, lambda x, part: x > 0),
            )
        )
    assert all(np.array_equal(a, b) for a, b in zip(*found))


def test_activations_make_room_for_the_sums_of_the_largest_layer(tmp_path, monkeypatch):
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, startup):
        x = paddle.static.data("x", [-1, 3, 8, 8])
        y = nn.Linear(512, 5)(nn.functional.relu(nn.Conv2D(3, 32, 5)(x)).flatten(1))
    executor = paddle.static.Executor(paddle.CPUPlace())
    executor.run(startup)
    paddle.static.save_inference_model(str(tmp_path / "m"), [x], [y], executor, program=program)
    asked = []
    monkeypatch.setattr(sweep, "Spill", lambda limit: asked.append(limit) or Spill(limit))
    images = np.random.default_rng(0).normal(size=(32, 3, 8, 8)).astype(np.float32)
    for memory in (0.25, 1e-3):
        reconstruct(open_model(tmp_path / "m"), [{"x": images}], ratio=0.5, memory=memory, steps=0)
    assert asked == [pytest.approx(0.75 * 0.25e9 - 3 * 4 * 512**2), 0.0]


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
    assert np.allclose(solve.inverse(a.copy(), 0.5) @ (a + 0.5 * np.eye(37)), np.eye(37), atol=1e-3)
