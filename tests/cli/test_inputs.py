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
from PIL import Image

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


def test_two_nets_that_are_not_the_same_are_called_as_the_command_calls_them(models, run):
    found = run("benchmark", "open", "two", "--shape", "1,3,8,9", "--rounds", "1")
    refused(found, "benchmark", r"MODEL and OTHER must be models of the same net, but read \['x'\] and \['a', 'b'\]")


@pytest.mark.parametrize("words", COMMANDS)
def test_data_are_enough(models, run, words):
    np.save("x.npy", data(5, 3, 8, 9))
    np.savez("x.npz", x=data(5, 3, 8, 9))
    for file in ("x.npy", "x.npz"):
        code, out, err = run(*words.split(), "--data", file)
        assert (code, err) == (0, "")
        assert "of 5 samples" in out or "given inputs" in out


@pytest.mark.parametrize("words", COMMANDS)
def test_a_folder_of_images_will_do_as_data(models, run, words):
    Path("photos").mkdir()
    for i in range(3):
        Image.fromarray(np.full((12, 14, 3), 40 * i, "uint8")).save(f"photos/{i}.png")
    code, out, err = run(*words.split(), "--data", "photos", "--image-size", "8", "9", "--mean", "0")
    assert (code, err) == (0, "")
    assert "of 3 samples" in out or "given inputs" in out


def test_several_inputs_are_given_by_name_and_get_their_types(models, run):
    np.savez("ab.npz", a=data(6, 4), b=np.arange(24).reshape(6, 4))
    code, out, err = run("benchmark", "two", "two", "--rounds", "1", "--batch", "4", "--data", "ab.npz")
    assert (code, err) == (0, "") and "inputs a [4, 4], b [4, 4]" in out and "of 6 samples" in out
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
        ("open open --data .", "--image-size"),
        ("open open --data x.npy --image-size 8", "--image-size has no meaning for --data x.npy; it is for a folder"),
        ("two two --mean 0 --std 1", "--mean, --std has no meaning for random inputs; it is for a folder of images"),
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
    """Two ops without a kernel, one of them twice."""
    x = x * paddle.create_parameter([1], "float32")
    return paddle.sinh(paddle.kthvalue(paddle.kthvalue(x, 2, 1, keepdim=True)[0], 1, 2)[0])


def saved(layers):
    net = Net(layers, [2, 2, 4, 4], lambda: paddle.optimizer.SGD(0.1))
    paddle.static.save_inference_model("in", [net.input], [net.output], net.exe, program=net.program)


def test_accelerate_that_converts_nothing_ends_with_3_and_counts_all_refusals(tmp_path, run, static, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved(refusing)
    code, out, err = run("accelerate", "in", "-o", "out")
    assert (code, err) == (3, "") and Path("out.json").exists()
    assert "kthvalue: the runtime has no kernel for this op; sinh: the runtime has no kernel for this op." in out
    rows = [line.split()[:3] for line in out.splitlines()]
    assert ["kthvalue", "2", "0.0%"] in rows and ["sinh", "1", "0.0%"] in rows and ["total", "3", "0.0%"] in rows
    assert "the other 100.0% of the multiply-adds stay with Paddle" in out


def test_the_share_of_arithmetic_of_the_parts_is_counted_by_hand(tmp_path, run, static, monkeypatch):
    """1x1, 2*4 per pixel; then a transposed one of volumes, which no kernel covers, 4*4; a linear layer, 16*4*8."""
    monkeypatch.chdir(tmp_path)

    def net_of(x):
        x = paddle.nn.Conv2D(2, 4, 1)(x).unsqueeze(2)
        x = paddle.nn.Conv3DTranspose(4, 4, 1)(x)
        return paddle.nn.Linear(64, 8)(x.flatten(1))

    saved(net_of)
    code, out, err = run("accelerate", "in", "-o", "out")
    total = 16 * 8 + 16 * 16 + 64 * 8
    assert (code, err) == (
        0,
        "",
    ) and f"{1 - 16 * 16 / total:.1%} of the multiply-adds are converted, in 2 part(s)" in out
    rows = [line.split() for line in out.splitlines()]
    shares = [row[3] for row in rows if row[:1] == ["part"]]
    assert shares == [f"{16 * 8 / total:.1%}", f"{64 * 8 / total:.1%}"] and "NHWC" not in "".join(shares)
    x = data(2, 2, 4, 4)
    np.testing.assert_allclose(open_model("out").run(x=x)[0], open_model("in").run(x=x)[0], rtol=1e-4, atol=1e-5)


def test_a_model_of_several_inputs_is_accelerated_and_timed(models, run):
    np.savez("ab.npz", a=data(256, 4), b=np.random.default_rng(0).integers(-3, 4, (256, 4)))
    assert run("accelerate", "two", "-o", "fast")[0] == 0
    code, out, err = run("accelerate", "two", "-o", "int8", "--int8", "--calibrate", "ab.npz")
    assert (code, err) == (0, "") and "int8" in out
    code, out, err = run("benchmark", "two", "fast", "--rounds", "1", "--data", "ab.npz")
    assert (code, err) == (0, "") and "inputs a [1, 4], b [1, 4]" in out and "100.00% of 256 samples" in out


@pytest.mark.parametrize(
    "file, message",
    [("x.npy", "must give arrays by name, for each of a, b"), ("a.npz", "must have an array for the input 'b'")],
)
def test_calibration_data_of_several_inputs_are_asked_for_by_name(models, run, file, message):
    np.save("x.npy", data(3, 4))
    np.savez("a.npz", a=data(3, 4))
    refused(run("accelerate", "two", "-o", "int8", "--int8", "--calibrate", file), "accelerate", message)
