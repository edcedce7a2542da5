# SPDX-License-Identifier: Apache-2.0
"""Models that leave sizes open, or have several inputs: --data and --shape, in every command that runs a model."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import paddle
import pytest
from command_lines import refused
from legacy_models import data
from nets import Net

from paddle_unstructured.export import open_model

pytestmark = pytest.mark.usefixtures("static")

COMMANDS = ["benchmark open open --rounds 1", "export open --to int8 -o out"]


@pytest.fixture
def models(static, tmp_path, monkeypatch) -> None:
    """`open` leaves height and width open; `two` has the inputs a, float32 [n, 4], and b, int64 [n, 4]."""
    monkeypatch.chdir(tmp_path)
    scope, executor = paddle.static.global_scope(), paddle.static.Executor(paddle.CPUPlace())
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        x = paddle.static.data("x", [-1, 3, -1, -1], "float32")
        a, b = (paddle.static.data(name, [-1, 4], kind) for name, kind in (("a", "float32"), ("b", "int64")))
        y = paddle.nn.functional.relu(paddle.nn.Conv2D(3, 4, 3)(x)).mean([2, 3])
        z = paddle.nn.Linear(4, 2)(a * b.astype("float32"))
    executor.run(startup, scope=scope)
    paddle.static.save_inference_model("open", [x], [y], executor, program=main)
    paddle.static.save_inference_model("two", [a, b], [z], executor, program=main)


@pytest.mark.parametrize("words", COMMANDS)
def test_open_sizes_are_asked_for_in_words_that_the_command_has(models, run, words):
    found = run(*words.split())
    refused(found, words.split()[0], r"leaves sizes of its input 'x' open, \[-1, 3, -1, -1\]; give --shape x=1,3,N,N")
    assert sorted(os.listdir()) == ["open.json", "open.pdiparams", "two.json", "two.pdiparams"]


@pytest.mark.parametrize("shape", ["x=1,3,8,9", "1,3,8,9", "x=2x3x8x9"])
@pytest.mark.parametrize("words", COMMANDS)
def test_a_shape_is_enough(models, run, words, shape):
    code, out, err = run(*words.split(), "--shape", shape)
    assert (code, err) == (0, "")
    if words.startswith("benchmark"):
        assert f"input [{2 if '2x' in shape else 1}, 3, 8, 9]" in out
    assert "random inputs" in out and "given inputs" not in out


@pytest.mark.parametrize("words", COMMANDS)
def test_data_are_enough(models, run, words):
    np.save("x.npy", data(5, 3, 8, 9))
    np.savez("x.npz", x=data(5, 3, 8, 9))
    for file in ("x.npy", "x.npz"):
        code, out, err = run(*words.split(), "--data", file)
        assert (code, err) == (0, "")
        assert "of 5 samples" in out or "given inputs" in out


def test_several_inputs_are_given_by_name_and_get_their_types(models, run):
    np.savez("ab.npz", a=data(6, 4), b=np.arange(24).reshape(6, 4))
    code, out, err = run("benchmark", "two", "two", "--rounds", "1", "--batch", "4", "--data", "ab.npz")
    assert (code, err) == (0, "") and "input [4, 4]" in out and "of 6 samples" in out
    assert run("benchmark", "two", "two", "--rounds", "1", "--shape", "a=3,4", "b=3,4")[0] == 0


@pytest.mark.parametrize(
    "words, message",
    [
        ("open open --shape y=1,3,8,8", r"--shape must be NAME=N,N,... with an input of the model \(x\).*'y=1,3,8,8'"),
        ("open open --shape 1,3,0,8", "whole numbers above 0, got '1,3,0,8'"),
        ("open open --shape 1,4,8,8", r"must fit the input 'x' of shape \[-1, 3, -1, -1\], got \[1, 4, 8, 8\]"),
        ("open open --shape 1,3,8,8 --data x.npy", "not allowed with"),
        ("two two --shape 3,4", "an input of the model"),
        ("two two --data x.npy", "must give an array for each of a, b: an .npz file"),
        ("two two --data a.npz", "must have an array for the input 'b', got arrays for a"),
        ("two two --data uneven.npz", "the same number of samples for every input, got 3 of a, 2 of b"),
        ("open open --data /dev/zero", "/dev/zero must be a file to be read, and is a device"),
        ("two two --batch 0", "--batch: must be a whole number >= 1, got '0'"),
        ("two two --batch -1", "--batch: must be a whole number >= 1, got '-1'"),
        ("two two --threads 1.5", "--threads: must be a whole number >= 1, got '1.5'"),
        ("two two --rounds 0", "--rounds: must be a whole number >= 1, got '0'"),
    ],
)
def test_what_does_not_fit_is_said(models, run, words, message):
    np.save("x.npy", data(3, 4))
    np.savez("a.npz", a=data(3, 4))
    np.savez("uneven.npz", a=data(3, 4), b=np.zeros((2, 4)))
    refused(run("benchmark", *words.split()), "benchmark", message)


def test_a_legacy_model_is_compressed_and_compared(legacy, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("compress", str(legacy / "conv.pdmodel"), "-o", "small")[0] == 0
    assert run("decompress", "small", "-o", "back")[0] == 0
    x = data(3, 4, 2, 2)
    np.testing.assert_array_equal(open_model("back").run(x=x)[0], open_model(legacy / "conv").run(x=x)[0])
    code, out, err = run("benchmark", str(legacy / "conv"), "back", "--rounds", "1")
    assert (code, err) == (0, "") and str(legacy / "conv") in out


# -- accelerate


def refusing(x):
    """Two ops without a kernel, one of them twice; the second convolution is behind them."""
    h = paddle.nn.Conv2D(4, 4, 1)(paddle.erf(paddle.nn.Conv2D(2, 4, 1)(x)))
    return paddle.sinh(paddle.erf(h))


def test_accelerate_that_converts_nothing_ends_with_3_and_counts_all_refusals(tmp_path, run, static, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = Net(refusing, [2, 2, 4, 4], lambda: paddle.optimizer.SGD(0.1))
    paddle.static.save_inference_model("in", [net.input], [net.output], net.exe, program=net.program)
    code, out, err = run("accelerate", "in", "-o", "out")
    assert (code, err) == (3, "") and Path("out.json").exists()
    assert "erf: the runtime has no kernel for this op; sinh: the runtime has no kernel for this op." in out
    rows = [line.split()[:3] for line in out.splitlines()]
    assert ["erf", "2", "0.0%"] in rows and ["sinh", "1", "0.0%"] in rows and ["total", "3", "0.0%"] in rows
    assert "the other 100.0% of the multiply-adds stay with Paddle" in out


def test_the_share_of_arithmetic_of_what_is_refused_is_counted_by_hand(tmp_path, run, static, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def net_of(x):  # 1x1: 2*4 per pixel; then a transposed one that no kernel covers: 4*4*2*2 per pixel
        return paddle.nn.Conv2DTranspose(4, 4, 2, stride=2)(paddle.nn.Conv2D(2, 4, 1)(x))

    net = Net(net_of, [2, 2, 4, 4], lambda: paddle.optimizer.SGD(0.1))
    paddle.static.save_inference_model("in", [net.input], [net.output], net.exe, program=net.program)
    code, out, _ = run("accelerate", "in", "-o", "out")
    assert code == 3 and ["conv2d_transpose", "1", f"{64 / 72:.1%}"] in [line.split()[:3] for line in out.splitlines()]
