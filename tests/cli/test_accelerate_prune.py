# SPDX-License-Identifier: Apache-2.0
"""`accelerate --prune`: pruned without training and converted, in one command."""

from __future__ import annotations

import os

import numpy as np
import paddle
import pytest
from nets import Net


@pytest.fixture
def photos(static, tmp_path, monkeypatch):
    """A model of images, `in/model`, and 48 samples, `x.npy`."""
    monkeypatch.chdir(tmp_path)

    def layers(x):
        wide = paddle.nn.functional.relu(paddle.nn.Conv2D(3, 16, 3, padding=1)(x))
        return paddle.nn.Linear(16, 8)(paddle.nn.functional.relu(paddle.nn.Conv2D(16, 16, 1)(wide)).mean([2, 3]))

    net = Net(layers, [-1, 3, 8, 8], own_scope=True)
    with paddle.static.scope_guard(net.scope):
        paddle.static.save_inference_model("in/model", [net.input], [net.output], net.exe, program=net.program)
    coarse = np.random.default_rng(0).normal(size=(48, 3, 4, 4)).astype(np.float32)
    np.save("x.npy", np.kron(coarse, np.ones((1, 1, 2, 2), np.float32)))


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--int8"], []], ids=["int8", "float32"])
def test_one_command_prunes_and_converts(photos, run, words):
    from paddle_unstructured.runtime import Session
    from paddle_unstructured.saved_model import open_model

    code, said, _ = run(
        "accelerate", "in", "--prune", "0.5", "--pattern", "1x4", *words, "--calibrate", "x.npy", "-o", "p"
    )
    assert code == 0 and "error by magnitude" in said
    assert ("+ rounding to nearest" in said) == bool(words)
    x = np.load("x.npy")
    (dense,), (found,) = open_model("in").run(x=x), Session("p").run(x)
    assert np.linalg.norm(found - dense) < 0.5 * np.linalg.norm(dense)


@pytest.mark.parametrize("data", ["random", "x.npy"])
def test_ranges_of_made_images_are_said_to_be_that(photos, run, data):
    words = ["--images", "8"] if data == "random" else []
    code, said, _ = run("accelerate", "in", "--int8", "--calibrate", data, *words, "-o", "p")
    assert code == 0 and ("measured on made images" in said) == (data == "random")


@pytest.mark.parametrize(
    "words, message",
    [
        (["--prune", "0.5"], "--prune needs inputs to prune on; give --calibrate DATA"),
        (["--int8", "--calibrate", "x.npy", "--most-error", "0"], "--most-error must be a finite number > 0 and <= 1"),
        (["--most-error", "0"], "--most-error has no meaning without --int8"),
        (["--pattern", "1x4", "--calibrate", "x.npy"], "does not say how much is to be pruned; give --prune R"),
        (["--prune", "0.6", "--pattern", "2:4", "--calibrate", "x.npy"], "--prune 0.6 is not what --pattern 2:4 means"),
        (["--int8", "--calibrate", "x.npy", "--mean", "0"], "--mean has no meaning without a folder of images"),
        (["--calibrate", "x.npy"], "--calibrate has no meaning without --int8"),
        (["--prune", "0.5", "--skip", "a", "--calibrate", "x.npy"], "--skip has no meaning without --int8"),
    ],
)
def test_what_makes_no_sense_is_refused(photos, run, words, message):
    code, out, err = run("accelerate", "in", *words, "-o", "p")
    assert (code, out) == (2, "") and message in err and not os.path.exists("p.json")
