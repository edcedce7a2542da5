# SPDX-License-Identifier: Apache-2.0
"""Training checkpoints, compressed."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import paddle
import pytest
import safetensors.numpy
from compressed import bits, checkpoint_of
from nets import Net, convnet

from paddle_unstructured.compression.compress import compress, decompress

# -- training checkpoints


@pytest.mark.usefixtures("static")
def test_a_checkpoint_comes_back_as_paddle_reads_it(tmp_path):
    net = Net(convnet, [1, 2, 4, 4])
    paddle.static.save(net.program, str(tmp_path / "net"))
    sizes = compress(str(tmp_path / "net.pdparams"), str(tmp_path / "small"))
    before = net.everything()
    (tmp_path / "net.pdparams").unlink()
    decompress(str(tmp_path / "small"), str(tmp_path / "net"))
    with paddle.static.scope_guard(paddle.static.Scope()):
        other = Net(convnet, [1, 2, 4, 4], seed=5)
        paddle.static.load(other.program, str(tmp_path / "net"))
        for name, array in other.everything().items():
            assert bits(array) == bits(before[name])
    assert sizes.weights == sum(array.size for array in before.values())
    os.remove(tmp_path / "net.json")
    compress(tmp_path / "net.pdparams", tmp_path / "small")  # the Program is not needed


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_checkpoints_of_every_pickle_protocol_of_paddle_are_read(tmp_path, protocol):
    arrays = {
        "w": np.arange(6, dtype="float32").reshape(2, 3).T,
        "n": np.array(3),
        "b": np.array([True, False]),
        "h": np.arange(3, dtype="uint16"),
        "e": np.empty((0, 2), "float64"),
    }
    file = str(tmp_path / "net.pdparams")
    Path(file).write_bytes(pickle.dumps(arrays, protocol=protocol))
    compress(file, file + ".small")
    decompress(file + ".small", str(tmp_path / "again"))
    again = pickle.loads(Path(tmp_path / "again.pdparams").read_bytes())
    assert list(again) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)
        assert again[name].dtype == array.dtype and again[name].shape == array.shape


def test_without_a_program_the_channels_are_first_or_last_of_two(tmp_path):
    random = np.random.default_rng(0)
    shapes = {"bias": (5,), "linear": (2, 5), "conv1d": (5, 2, 3), "conv": (5, 2, 3, 3), "conv3d": (5, 2, 1, 2, 3)}
    file = checkpoint_of(tmp_path, **{name: random.normal(size=s).astype("float32") for name, s in shapes.items()})
    compress(file, file + ".small", values="int8")
    entries = safetensors.numpy.load_file(file + ".small")
    assert {name: entries[name + ".scale"].size for name in shapes if name + ".scale" in entries} == dict.fromkeys(
        ["linear", "conv1d", "conv", "conv3d"], 5
    )


class _Evil:
    def __reduce__(self):
        return os.mkdir, ("it_ran",)


def test_code_in_a_checkpoint_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.pdparams").write_bytes(pickle.dumps({"w": _Evil()}))
    with pytest.raises(ValueError, match="it wants posix.mkdir"):
        compress("net.pdparams", "small")
    assert os.listdir() == ["net.pdparams"]


@pytest.mark.parametrize(
    "content, message",
    [
        (pickle.dumps([1]), "a list"),
        (pickle.dumps({"w": 1}), "it holds 'w'"),
        (b"", "EOFError"),
        (b"hello", "cannot be read"),
        (pickle.dumps({"w": np.ones(3)})[:-9], "cannot be read"),
        (pickle.dumps({}) + b".", "more than that"),
        (pickle.dumps({"w": np.array(["a"])}), "must hold types of Paddle, but holds w"),
    ],
)
def test_a_checkpoint_of_anything_else_is_refused(tmp_path, content, message):
    file = tmp_path / "net.pdparams"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        compress(str(file), str(tmp_path / "small"))
    assert str(file) in str(error.value) and os.listdir(tmp_path) == ["net.pdparams"]
